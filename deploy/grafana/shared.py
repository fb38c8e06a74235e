"""Panels that more than one dashboard shows."""

from __future__ import annotations

from typing import Final

from deploy.grafana.panels import INSTANCE, Panel, quantile, quantiles, rate

CAPTION: Final = 'type="tenor.caption.final.v1"'
WINDOW: Final = 'type="tenor.sentiment.window.v1"'

CAPTIONS_LATE: Final = Panel(
    "How long after an utterance is its caption there?",
    "From the end of the utterance, in event time, to the delivery of the final caption. The"
    " objective is 1 s for 95 %. Clocks of producers that are wrong show here.",
    quantiles("tenor_end_to_end_seconds", CAPTION),
    "s",
    "TenorLatencyBurnsFast",
    warn=0.75,
    bad=1,
)
SENTIMENT_LATE: Final = Panel(
    "How long after its window is sentiment there?",
    "From the end of the window to the delivery of its final result. It waits for captions of"
    " utterances that reach beyond the window. The objective is 10 s for 95 %.",
    quantiles("tenor_end_to_end_seconds", WINDOW),
    "s",
    "TenorLatencyBurnsFast",
    warn=5,
    bad=10,
)
AUDIO_DONE: Final = Panel(
    "What became of each second of audio?",
    "Seconds of audio a second, by what covers them: caption, silence, or a gap with its reason."
    " All together are the number of channels that are being heard.",
    {"{{outcome}}": rate("tenor_audio_done_seconds_total", "outcome")},
    "s",
    "TenorGaps",
    stacked=True,
)
OLDEST: Final = Panel(
    "How old is the oldest event that is not done?",
    "Of each agent and topic, since it was written. Audio waits for the end of its utterance."
    " Features are held on purpose, up to the end of their session: of them, look at the latency of"
    " sentiment.",
    {"{{agent}}: {{topic}}": "agent_topic:tenor_consumer_lag_seconds:max"},
    "s",
    "TenorLagHigh",
    warn=30,
    bad=60,
)
LOOP: Final = Panel(
    "How late do event loops run?",
    "99 % of the time at most so late. While it is late, nobody is answered.",
    {"{{job}} {{instance}}": f"instance:tenor_event_loop_lag_seconds:p99_rate5m{{{INSTANCE}}}"},
    "s",
    "TenorEventLoopLag",
    warn=0.1,
    bad=0.25,
)
TAKEN: Final = Panel(
    "What is taken?",
    "Events that agents have taken, a second, by topic.",
    {"{{topic}}": rate("tenor_events_total", "topic", 'outcome="taken"')},
    "ops",
    "TenorNotTaken",
)
WAITS: Final = Panel(
    "How long do items wait for a model?",
    "95 % at most so long, by model.",
    {"{{model}}": quantile(0.95, "tenor_queue_wait_seconds", "model")},
    "s",
    "TenorFewerPartials",
    warn=0.5,
    bad=1,
)


def late(objective: str) -> str:
    """The share of results that were late in the last 5 minutes."""
    return f'objective:tenor_late_results:ratio_rate5m{{objective="{objective}"}}'
