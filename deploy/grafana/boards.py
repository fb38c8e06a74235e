"""What Grafana's dashboards show: every panel with its question, its unit, and when it is bad.

`deploy.grafana.make` writes Grafana's files from this.
"""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import (
    OR_NONE,
    Dashboard,
    Panel,
    chosen,
    most,
    quantile,
    quantiles,
    rate,
    stat,
    total,
)
from deploy.grafana.shared import (
    AUDIO_DONE,
    CAPTIONS_LATE,
    LOOP,
    OLDEST,
    SENTIMENT_LATE,
    TAKEN,
    WAITS,
    late,
)

PARTIAL: Final = 'type="tenor.caption.partial.v1"'
CUDA: Final = "a worker on CUDA"

OVERVIEW: Final = Dashboard(
    "tenor-overview",
    "Tenor: overview",
    "Is it well? If not, which of the other dashboards says more.",
    (
        stat(
            "Workers",
            "Those that are ready.",
            'sum(tenor_ready{job="worker"})' + OR_NONE,
            alert="TenorNoWorker",
        ),
        stat(
            "Gateways",
            "Those that are ready.",
            'sum(tenor_ready{job="gateway"})' + OR_NONE,
            alert="TenorNoGateway",
        ),
        stat(
            "Calls",
            "Sessions with audio that are open.",
            'sum(tenor_open_sessions{agent="audio"})' + OR_NONE,
            alert="TenorNothingComesOut",
        ),
        stat(
            "Alerts",
            "How many fire now.",
            'count(ALERTS{alertstate="firing"})' + OR_NONE,
            warn=1,
            bad=3,
        ),
        stat(
            "Dead letters",
            "In the last hour.",
            'sum(increase(tenor_events_total{outcome="deadletter"}[1h]))' + OR_NONE,
            alert="TenorDeadLetters",
            warn=1,
            bad=100,
        ),
        stat(
            "Audio without captions",
            "Share of the audio of the last 10 minutes that is covered by gaps.",
            'sum(outcome:tenor_audio_done_seconds:ratio_rate10m{outcome!~"caption|silence"})',
            "percentunit",
            alert="TenorGaps",
            warn=0.02,
            bad=0.05,
        ),
        CAPTIONS_LATE,
        SENTIMENT_LATE,
        Panel(
            "How much of the latency budget is being spent?",
            "Share of results that were late in the last 5 minutes; 5 % may be.",
            {"captions": late("captions"), "sentiment": late("sentiment")},
            "percentunit",
            "TenorLatencyBurnsSlowly",
            warn=0.05,
            bad=0.72,
        ),
        AUDIO_DONE,
        TAKEN,
        OLDEST,
    ),
)

CAPTIONS: Final = Dashboard(
    "tenor-captions",
    "Tenor: captions",
    "From audio to words: what becomes of each second, how soon, and what overload does to it.",
    (
        AUDIO_DONE,
        Panel(
            "Is every second accounted for?",
            "Audio that was heard or never came, and audio that a result covers, a second. The two"
            " lines follow each other, by the length of an utterance at most.",
            {
                "heard or lost": (
                    f"sum(rate({chosen('tenor_audio_taken_seconds_total')}[$__rate_interval]))"
                    f" + sum(rate({chosen('tenor_audio_lost_seconds_total')}[$__rate_interval]))"
                ),
                "covered": rate("tenor_audio_done_seconds_total"),
            },
            "s",
            "TenorNothingComesOut",
        ),
        Panel(
            "Why is there no caption?",
            "Share of the audio that is covered by gaps, by reason.",
            {
                "{{outcome}}": "outcome:tenor_audio_done_seconds:ratio_rate10m"
                '{outcome!~"caption|silence"}'
            },
            "percentunit",
            "TenorGaps",
            warn=0.02,
            bad=0.05,
        ),
        CAPTIONS_LATE,
        Panel(
            "How old are the words of partial captions?",
            "From the last word that a partial caption shows to its delivery.",
            quantiles("tenor_end_to_end_seconds", PARTIAL),
            "s",
            "TenorFewerPartials",
            warn=1.5,
            bad=3,
        ),
        Panel(
            "What has overload done to captions?",
            "0 nothing, 1 partials are rarer, 2 there are finals only.",
            {"{{instance}}": most("tenor_captions_degradation", "instance")},
            "short",
            "TenorFinalsOnly",
            warn=1,
            bad=2,
        ),
        Panel(
            "How many partial captions were left out?",
            "Those that were asked for and not decoded, a second, by reason.",
            {"{{reason}}": rate("tenor_partials_skipped_total", "reason")},
            "ops",
            "TenorFewerPartials",
        ),
        Panel(
            "What is delivered?",
            "Results of the recogniser, a second, by type.",
            {"{{type}}": rate("tenor_results_total", "type", 'type=~"tenor.caption.*"')},
            "ops",
            "TenorNothingComesOut",
        ),
    ),
)

SENTIMENT: Final = Dashboard(
    "tenor-sentiment",
    "Tenor: sentiment",
    "From features to moods: how soon, of how many sessions, and what missed its window.",
    (
        SENTIMENT_LATE,
        Panel(
            "What is delivered?",
            "Sentiment of windows and sessions, pictures and matches, a second.",
            {
                "{{type}}": rate(
                    "tenor_results_total", "type", 'type=~"tenor.(sentiment|image|match).*"'
                )
            },
            "ops",
            "TenorNothingComesOut",
        ),
        Panel(
            "How many windows and sessions are open?",
            "Windows that wait to be closed, and sessions of the join.",
            {
                "windows": total("tenor_open_windows"),
                "sessions": total("tenor_open_sessions", where='agent="join"'),
            },
        ),
        Panel(
            "What came too late, or could not be compared?",
            "Features that missed their window, and those compared with no other, a second.",
            {
                "missed its window": rate("tenor_late_events_total"),
                "not compared: {{reason}}": rate("tenor_unmatched_features_total", "reason"),
            },
            "ops",
            "TenorDeadLetters",
        ),
        Panel(
            "How old is the oldest feature that is not done?",
            "A feature is held until its windows are final and no match can need it: if an input of"
            " the session says nothing of how far it is, up to the session's end.",
            {
                "{{agent}}": 'agent_topic:tenor_consumer_lag_seconds:max{topic="features"}'
                " or on () vector(0)"
            },
            "s",
            "TenorLatencyBurnsFast",
        ),
        Panel(
            "How long does a judgement take?",
            "95 % of the calls of the fusion model at most so long.",
            {"fusion": quantile(0.95, "tenor_batch_seconds", where='model="fusion"')},
            "s",
            "TenorModelStalled",
        ),
    ),
)

PIPELINE: Final = Dashboard(
    "tenor-pipeline",
    "Tenor: pipeline",
    "The way of the data through gateway, Kafka and agents: where it waits or is lost.",
    (
        Panel(
            "What do clients send?",
            "Events that Kafka has confirmed to gateways, a second, by topic.",
            {"{{topic}}": rate("tenor_gateway_events_in_total", "topic")},
            "ops",
            "TenorNothingArrives",
        ),
        TAKEN,
        Panel(
            "How many events wait?",
            "Those not done, by agent and topic. They wait in Kafka, which is made for it.",
            {"{{agent}}: {{topic}}": "agent_topic:tenor_consumer_lag_events:sum"},
            "short",
            "TenorLagGrowing",
        ),
        OLDEST,
        Panel(
            "What became dead letters?",
            "Records that could not be used, a second, by reason.",
            {"{{reason}}": rate("tenor_dead_letters_total", "reason")},
            "ops",
            "TenorDeadLetters",
            bad=0.01,
        ),
        Panel(
            "How long do the stages take?",
            "95 % of the events at most so long, by stage.",
            {"{{stage}}": quantile(0.95, "tenor_stage_seconds", "stage")},
            "s",
            "TenorKafkaSlow",
        ),
        Panel(
            "How soon does Kafka confirm?",
            "95 % of what clients send, by topic.",
            {"{{topic}}": quantile(0.95, "tenor_gateway_confirm_seconds", "topic")},
            "s",
            "TenorKafkaSlow",
            warn=0.5,
            bad=1,
        ),
        Panel(
            "What are clients refused?",
            "Problems that gateways told, a second, by kind.",
            {"{{kind}}": rate("tenor_gateway_refused_total", "kind")},
            "ops",
            "TenorGatewayRefuses",
        ),
        Panel(
            "Who is connected?",
            "Sockets that send, and streams of results.",
            {"{{scope}}": total("tenor_gateway_live", "scope")},
            "short",
            "TenorNothingArrives",
        ),
        Panel(
            "How soon are requests answered?",
            "95 % of the requests, by route.",
            {"{{route}}": quantile(0.95, "tenor_gateway_request_seconds", "route")},
            "s",
            "TenorGatewayFails",
        ),
        Panel(
            "What do clients get?",
            "Results given to them, a second, and streams cut off because their client was slow.",
            {
                "results": rate("tenor_gateway_results_out_total"),
                "cut off": rate("tenor_gateway_cut_off_total"),
            },
            "ops",
        ),
        LOOP,
    ),
)

MODELS: Final = Dashboard(
    "tenor-models",
    "Tenor: models and machines",
    "What limits a worker: its models, its GPU, its processor, its memory.",
    (
        WAITS,
        Panel(
            "How long does a model call take?",
            "95 % at most so long, by model.",
            {"{{model}}": quantile(0.95, "tenor_batch_seconds", "model")},
            "s",
            "TenorModelStalled",
        ),
        Panel(
            "How full are batches?",
            "Items in a model call, in the mean. Fuller batches are cheaper, and mean more load.",
            {
                "{{model}}": (
                    f"sum by (model) (rate({chosen('tenor_batch_size_sum')}[$__rate_interval]))"
                    f" / sum by (model)"
                    f" (rate({chosen('tenor_batch_size_count')}[$__rate_interval]))"
                )
            },
        ),
        Panel(
            "Which models are sick?",
            "Calls that raised, a second, and the age of a call that does not come back.",
            {
                "{{model}}: errors a second": rate("tenor_model_errors_total", "model"),
                "{{model}}: stalled, s": most("tenor_model_stalled_seconds", "model"),
            },
            "short",
            "TenorModelErrors",
            warn=1,
            bad=15,
        ),
        Panel(
            "How full are the GPUs?",
            "Share of their memory that is taken, by whomever.",
            {
                "{{instance}} {{gpu}}": f"{chosen('tenor_gpu_memory_used_bytes')}"
                f" / {chosen('tenor_gpu_memory_bytes')}"
            },
            "percentunit",
            "TenorGpuFull",
            warn=0.85,
            bad=0.95,
            needs=CUDA,
        ),
        Panel(
            "How busy are the GPUs?",
            "Share of the last moments in which they worked.",
            {"{{instance}} {{gpu}}": chosen("tenor_gpu_busy_ratio")},
            "percentunit",
            needs=CUDA,
        ),
        Panel(
            "How many processors are used?",
            "Processor seconds a second.",
            {
                "{{job}} {{instance}}": "rate("
                + chosen("process_cpu_seconds_total", 'job=~"worker|gateway"')
                + "[$__rate_interval])"
            },
            "short",
            "TenorLagGrowing",
        ),
        Panel(
            "How much memory is used?",
            "Resident memory of the processes.",
            {
                "{{job}} {{instance}}": chosen(
                    "process_resident_memory_bytes", 'job=~"worker|gateway"'
                )
            },
            "bytes",
            "TenorRestarts",
        ),
        Panel(
            "How long did models take to load?",
            "A worker is not ready before.",
            {"{{model}}": most("tenor_model_load_seconds", "model")},
            "s",
            "TenorNotReady",
        ),
        Panel(
            "Which versions run?",
            "Processes of each version; two at a time while they are changed.",
            {"{{job}} {{version}}": f"count by (job, version) ({chosen('tenor_build_info')})"},
        ),
    ),
)

DASHBOARDS: Final = (OVERVIEW, CAPTIONS, SENTIMENT, PIPELINE, MODELS)
