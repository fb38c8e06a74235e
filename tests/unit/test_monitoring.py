"""What watches over Tenor asks for what there is: rules, dashboards, runbook and code agree."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard as GrafanaDashboard
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from deploy.grafana import make
from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.panels import Dashboard
from models.gpu import Gpu
from streams.gateway.metrics import GatewayMetrics
from streams.gateway.settings import GatewaySettings
from streams.metrics import INPUTS, Metrics, ProcessMetrics
from streams.results import Gap, Silence
from streams.settings import Settings
from tests.monitored import DEPLOY, MISSING, ROOT, tool

PROMETHEUS = DEPLOY / "prometheus"
NAMES = re.compile(r"\b(?:tenor|process)_[a-z0-9_]+\b")
OF_ALL = {"job", "instance", "le"}
"""Labels that Prometheus and histograms add."""
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


def rules(kind: str) -> list[dict[str, Any]]:
    files = [yaml.safe_load(each.read_text()) for each in (PROMETHEUS / "rules").glob("*.yml")]
    every = [rule for file in files for group in file["groups"] for rule in group["rules"]]
    return [rule for rule in every if kind in rule]


ALERTS = {rule["alert"]: rule for rule in rules("alert")}
RECORDED = {rule["record"] for rule in rules("record")}
QUERIES = [rule["expr"] for rule in [*rules("alert"), *rules("record")]] + [
    query for each in DASHBOARDS for panel in each.panels for query in panel.queries.values()
]


def collected() -> dict[str, Metric]:
    metrics = [*Metrics().registry.collect(), *GatewayMetrics().registry.collect()]
    return {metric.name: metric for metric in metrics}


def series(metric: Metric) -> Iterator[str]:
    yield from (metric.name + suffix for suffix in SUFFIXES.get(metric.type, ("",)))


def described() -> str:
    """The table of docs/metrics.md."""

    def rows(metrics: ProcessMetrics) -> Iterator[str]:
        for each in sorted(metrics.registry.collect(), key=lambda each: each.name):
            labels = ", ".join(f"`{label}`" for label in labels_of(metrics.registry, each.name))
            name = each.name + {"counter": "_total", "info": "_info"}.get(each.type, "")
            yield f"| `{name}` | {each.type} | {labels} | {each.documentation} |"

    head = "| name | type | labels | what |\n|---|---|---|---|\n"
    parts = {"Every process": ProcessMetrics(), "Workers": Metrics(), "Gateways": GatewayMetrics()}
    shared = set(rows(parts["Every process"]))
    return "\n".join(
        f"## {title}\n\n{head}"
        + "".join(f"{row}\n" for row in rows(part) if title == "Every process" or row not in shared)
        for title, part in parts.items()
    )


def labels_of(registry: CollectorRegistry, name: str) -> tuple[str, ...]:
    found = registry._names_to_collectors.get(name)
    return tuple(getattr(found, "_labelnames", ()))


def test_the_list_of_metrics_is_that_of_the_code() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text().endswith(f"\n{described()}")


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_what_there_is(query: str) -> None:
    there = {name for metric in collected().values() for name in series(metric)}
    bare = re.sub(r'"[^"]*"', "", re.sub(r"\b[a-z_]+:\S+?(?=[{\s\[)]|$)", "", query))
    assert set(NAMES.findall(bare)) <= there
    levels = set(re.findall(r"\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+", query))
    assert levels <= RECORDED


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_what_to_do_and_is_tested(name: str) -> None:
    rule = ALERTS[name]
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.M)
    assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
    assert name in headings
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert f'alertname="{name}"' in (PROMETHEUS / "tests" / "faults.yml").read_text()


def test_the_runbook_knows_no_other_alerts() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    assert set(re.findall(r"\bTenor[A-Z]\w+", text)) == set(ALERTS)


def test_every_panel_explains_itself_and_names_a_real_alert() -> None:
    panels = [panel for dashboard in DASHBOARDS for panel in dashboard.panels]
    assert all(panel.about.endswith(".") for panel in panels)
    assert {panel.alert for panel in panels} - {""} <= set(ALERTS)


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_the_files_of_grafana_are_what_is_made(dashboard: Dashboard) -> None:
    file = make.FOLDER / f"{dashboard.name}.json"
    assert file.read_text() == make.content(dashboard), "run python -m deploy.grafana.make"


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda each: each.name)
def test_grafana_knows_every_field(dashboard: Dashboard) -> None:
    """Its own model of a dashboard keeps what it knows."""
    register_default_plugins()
    written = json.loads(make.content(dashboard))
    assert list(unknown(written, understood(written))) == []
    assert list(unknown({**written, "colour": "red"}, understood(written))) == ["/colour"]


def understood(written: dict[str, Any]) -> Any:  # noqa: ANN401  (it is JSON)
    return json.loads(json.dumps(GrafanaDashboard.from_json(written), cls=JSONEncoder))


def unknown(written: Any, known: Any, path: str = "") -> Iterator[str]:  # noqa: ANN401
    if isinstance(written, dict) and isinstance(known, dict):
        yield from (f"{path}/{key}" for key in written.keys() - known.keys())
        for key in written.keys() & known.keys():
            yield from unknown(written[key], known[key], f"{path}/{key}")
    elif isinstance(written, list) and isinstance(known, list) and len(written) == len(known):
        for number, (one, other) in enumerate(zip(written, known, strict=True)):
            yield from unknown(one, other, f"{path}/{number}")
    elif written != known:
        yield path


def test_no_metric_names_a_session() -> None:
    labels = {
        label
        for metrics in (Metrics(), GatewayMetrics())
        for name in metrics.registry._names_to_collectors
        for label in labels_of(metrics.registry, name)
    }
    assert labels == {
        *("topic", "outcome", "type", "stage", "model", "reason", "agent", "gpu"),
        *("route", "method", "status", "kind", "scope"),
    }


def value(metrics: ProcessMetrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, f"{name} {labels} is not shown"
    return found


def test_what_is_counted_begins_at_nothing() -> None:
    metrics = Metrics()
    for topic in INPUTS:
        assert value(metrics, "tenor_events_total", topic=topic, outcome="deadletter") == 0


def test_audio_is_counted_by_what_covers_it() -> None:
    metrics = Metrics()
    span = {"session": "s", "channel": "c", "start": 1000, "end": 3500}
    metrics.observe_audio(Silence(**span), 500)
    metrics.observe_audio(Gap(**span, reason="no-audio"), 0)
    metrics.observe_audio(Gap(**span, reason="repetition"), 0)
    for outcome in ("silence", "no-audio", "repetition"):
        assert value(metrics, "tenor_audio_done_seconds_total", outcome=outcome) == 2.5
    assert value(metrics, "tenor_audio_lost_seconds_total") == 3.0


def test_a_gpu_that_is_gone_leaves_the_other_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cuda:
        @staticmethod
        def mem_get_info(index: int) -> tuple[int, int]:
            if index:
                raise RuntimeError("CUDA error: device not ready")
            return 30, 80

        @staticmethod
        def utilization(index: int) -> int:
            raise ModuleNotFoundError("pynvml")

    monkeypatch.setattr("models.gpu._cuda", lambda: Cuda)
    metrics = Metrics()
    for index in range(2):
        metrics.watch_gpu(Gpu(index, f"cuda:{index}", 80))
    assert value(metrics, "tenor_gpu_memory_used_bytes", gpu="cuda:0") == 50
    gone = value(metrics, "tenor_gpu_memory_used_bytes", gpu="cuda:1")
    assert math.isnan(gone)
    assert value(metrics, "tenor_gpu_memory_bytes", gpu="cuda:1") == 80


def test_nothing_is_said_of_gpus_that_are_not_there() -> None:
    gpus = [each for each in Metrics().registry.collect() if "gpu" in each.name]
    assert gpus
    assert not any(each.samples for each in gpus)


def told(program: str, *arguments: str | Path) -> str:
    """What a program of Prometheus says; skips where there is none. It must succeed."""
    path = tool(program)
    if path is None:
        pytest.skip(MISSING)
    done = subprocess.run([path, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_its_configuration() -> None:
    said = told("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert "2 rule files found" in said


def test_prometheus_looks_where_workers_and_gateways_show_their_metrics() -> None:
    read = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    found = {
        place["names"][0]: place["port"]
        for job in read["scrape_configs"]
        for place in job.get("dns_sd_configs", ())
    }
    ports = Settings.model_fields["metrics_port"], GatewaySettings.model_fields["metrics_port"]
    assert found == {"worker": ports[0].default, "gateway": ports[1].default}


def test_alerts_fire_when_they_should_and_only_then() -> None:
    files = sorted((PROMETHEUS / "tests").glob("*.yml"))
    assert told("promtool", "test", "rules", *files).count("SUCCESS") == len(files)


def test_alertmanager_takes_its_configuration_and_what_a_user_fills_in(tmp_path: Path) -> None:
    file = DEPLOY / "alertmanager" / "alertmanager.yml"
    assert "2 receivers" in told("amtool", "check-config", file)
    filled = tmp_path / "alertmanager.yml"
    filled.write_text(re.sub(r"^    # ", "    ", file.read_text(), flags=re.M))
    assert "slack_configs" in yaml.safe_load(filled.read_text())["receivers"][1]
    assert "2 receivers" in told("amtool", "check-config", filled)


def test_nobody_is_told_by_default() -> None:
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    assert [set(receiver) for receiver in config["receivers"]] == [{"name"}, {"name"}]


def test_grafana_finds_source_and_dashboards() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources/prometheus.yml").read_text())["datasources"]
    (provider,) = yaml.safe_load((folder / "dashboards/tenor.yml").read_text())["providers"]
    assert source["type"] == "prometheus"
    assert Path(provider["options"]["path"]).name == make.FOLDER.name
