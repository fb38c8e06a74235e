"""`deploy/k8s` is whole, agrees with the code, and is what Kubernetes' schemas ask for."""

from __future__ import annotations

import os
import runpy
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest

from streams import rights
from streams.agents.audio import AudioAgent
from streams.agents.base import Agent
from streams.agents.images import ImageAgent
from streams.agents.join import JoinAgent
from streams.agents.matching import MatchAgent
from streams.agents.text import TextAgent
from streams.events import Topics
from streams.gateway.server import CLOSE_S
from streams.gateway.settings import GatewaySettings
from streams.rights import Right
from streams.settings import AGENTS, Settings
from streams.worker import STOP_S
from tests.kubernetes import (
    BASE,
    COMPONENTS,
    ROOT,
    Document,
    agents_of,
    container_of,
    documents,
    env_of,
    kustomizations,
    labels_of,
    of_kind,
    pod_of,
    rendered,
    selects,
    settings,
)

TOPICS = Topics.of("tenor.")
AGENT: dict[str, type[Agent]] = {
    "audio": AudioAgent,
    "text": TextAgent,
    "images": ImageAgent,
    "join": JoinAgent,
    "match": MatchAgent,
}
WORKERS = of_kind(documents(BASE / "workers.yaml"), "Deployment")
SCALED = of_kind(documents(COMPONENTS / "autoscaling" / "workers.yaml"), "ScaledObject")
EXTENSIONS = ("keda.sh/", "kafka.strimzi.io/", "monitoring.coreos.com/")
"""Resources of others, whose schemas no package brings."""


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, ...]:
    """The base with all components."""
    folder = tmp_path_factory.mktemp("everything")
    lines = [f"resources: ['{os.path.relpath(BASE, folder)}']", "components:"]
    lines += [f"- '{os.path.relpath(each, folder)}'" for each in sorted(COMPONENTS.iterdir())]
    (folder / "kustomization.yaml").write_text("\n".join(lines))
    return rendered(folder)


@pytest.fixture(scope="module")
def workloads(everything: tuple[Document, ...]) -> dict[str, Document]:
    return of_kind(everything, "Deployment", "Job")


def test_every_file_is_used_and_every_used_file_is_there() -> None:
    used = set[Path]()
    for folder, said in kustomizations():
        named = [*said.get("resources", ()), *said.get("components", ())]
        named += [each["path"] for each in said.get("patches", ()) if "path" in each]
        named += [env for each in said.get("configMapGenerator", ()) for env in each["envs"]]
        used |= {folder / each for each in named} | {folder / "kustomization.yaml"}
    assert not [str(each) for each in used if not each.exists()]
    there = {each for each in ROOT.rglob("*") if each.suffix in (".yaml", ".env")}
    assert there == {each for each in used if each.is_file()}


@pytest.mark.parametrize("folder", [ROOT, ROOT / "gpu"])
def test_what_is_applied_is_rendered(folder: Path) -> None:
    made = of_kind(rendered(folder), "Deployment", "Job")
    assert {*WORKERS, "tenor-gateway", "tenor-topics"} == made.keys()
    assert all(":" in container_of(each)["image"] for each in made.values())


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_schemas_are_satisfied(everything: tuple[Document, ...], version: str) -> None:
    own = [each for each in everything if not each["apiVersion"].startswith(EXTENSIONS)]
    assert len(own) > 10
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


def test_the_settings_are_settings_and_in_range(monkeypatch: pytest.MonkeyPatch) -> None:
    told = settings()
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    Settings(), GatewaySettings()
    known = {f"TENOR_{name.upper()}" for name in Settings.model_fields}
    known |= {f"TENOR_GATEWAY_{name.upper()}" for name in GatewaySettings.model_fields}
    assert told.keys() <= known | {"TENOR_CACHE"}


def test_what_a_pod_is_told_are_settings(workloads: dict[str, Document]) -> None:
    known = {f"TENOR_{name.upper()}" for name in Settings.model_fields} | {"HOME"}
    assert not {name for each in workloads.values() for name in env_of(each)} - known


def test_no_service_gives_a_pod_a_setting(workloads: dict[str, Document]) -> None:
    """Kubernetes would name the port of the Service tenor-gateway as that setting is named."""
    assert all(pod_of(each)["enableServiceLinks"] is False for each in workloads.values())


def test_each_agent_runs_in_one_kind_of_worker() -> None:
    assert Counter(a for each in WORKERS.values() for a in agents_of(each)) == Counter(AGENTS)


def test_each_name_is_user_secret_and_deployment(workloads: dict[str, Document]) -> None:
    for name, each in workloads.items():
        secrets = {
            v["name"]: v["secret"]["secretName"] for v in pod_of(each)["volumes"] if "secret" in v
        }
        assert secrets["kafka"] == name
        assert env_of(each)["TENOR_KAFKA_USERNAME"] == name


def test_files_that_settings_name_are_mounted(workloads: dict[str, Document]) -> None:
    mounts = {m["mountPath"] for m in container_of(workloads["tenor-gateway"])["volumeMounts"]}
    files = {Path(v) for k, v in settings().items() if k.endswith("_FILE")}
    assert {str(each.parent) for each in files} <= mounts


def test_strimzi_users_may_do_what_they_need_and_no_more() -> None:
    users = of_kind(documents(COMPONENTS / "strimzi" / "users.yaml"), "KafkaUser")
    needed = {
        name: rights.of_worker(agents_of(each), TOPICS, "tenor") for name, each in WORKERS.items()
    }
    names = asdict(TOPICS).values()
    making = {Right("Topic", name, what) for name in names for what in ("Create", "Describe")}
    needed |= {"tenor-gateway": rights.of_gateway(TOPICS), "tenor-topics": making}
    assert {name: _granted(each) for name, each in users.items()} == needed


def _granted(user: Document) -> set[Right]:
    return {
        Right(rule["resource"]["type"].capitalize(), rule["resource"]["name"], operation)
        for rule in user["spec"]["authorization"]["acls"]
        for operation in rule["operations"]
    }


def test_workers_are_scaled_by_all_that_they_read() -> None:
    read = {
        name: {
            (f"{Settings().group}-{agent}", asdict(TOPICS)[topic])
            for agent in agents_of(worker)
            for topic in AGENT[agent].inputs
        }
        for name, worker in WORKERS.items()
    }
    assert {name: _asked(each) for name, each in SCALED.items()} == read


def _asked(scaled: Document) -> set[tuple[str, str]]:
    triggers: list[dict[str, Any]] = scaled["spec"]["triggers"]
    assert {each["type"] for each in triggers} == {"kafka"}
    return {(each["metadata"]["consumerGroup"], each["metadata"]["topic"]) for each in triggers}


def test_there_are_not_more_workers_than_partitions(everything: tuple[Document, ...]) -> None:
    scaled = of_kind(everything, "ScaledObject")
    assert scaled.keys() == WORKERS.keys()
    for name, each in scaled.items():
        assert each["spec"]["scaleTargetRef"]["name"] == name
        assert each["spec"]["maxReplicaCount"] == int(settings()["TENOR_PARTITIONS"])
        for trigger in each["spec"]["triggers"]:
            assert trigger["metadata"]["bootstrapServersFromEnv"] in settings()
            assert trigger["authenticationRef"]["name"] == name


def test_the_docs_tell_the_thresholds() -> None:
    text = (ROOT.parents[1] / "docs" / "kubernetes.md").read_text()
    table = text.partition("threshold per pod")[2].partition("\n\n")[0]
    for each in SCALED.values():
        for trigger in each["spec"]["triggers"]:
            told = trigger["metadata"]
            (row,) = (r for r in table.splitlines() if f"`{told['consumerGroup']}`: " in r)
            assert f"`{told['topic']}`" in row and f"| {told['lagThreshold']} " in row


def test_who_scales_is_the_only_one_who_says_how_many(workloads: dict[str, Document]) -> None:
    assert not [name for name in WORKERS if "replicas" in workloads[name]["spec"]]


def test_a_pod_has_time_to_end(workloads: dict[str, Document]) -> None:
    grace = {
        name: float(pod_of(each)["terminationGracePeriodSeconds"])
        for name, each in workloads.items()
        if each["kind"] == "Deployment"
    }
    told = settings()
    leaving = float(told["TENOR_GATEWAY_NOTICE_S"]) + float(told["TENOR_GATEWAY_DRAIN_S"])
    assert grace["tenor-gateway"] >= leaving + CLOSE_S + STOP_S
    assert all(grace[name] >= 3 * STOP_S for name in WORKERS)


def test_probes_ask_where_the_process_answers(workloads: dict[str, Document]) -> None:
    ports = {name: {"metrics": Settings().metrics_port} for name in WORKERS}
    gateway = GatewaySettings()
    ports["tenor-gateway"] = {"http": gateway.port, "metrics": gateway.metrics_port}
    for name, wanted in ports.items():
        container = container_of(workloads[name])
        assert {each["name"]: each["containerPort"] for each in container["ports"]} == wanted
        asked = {
            each: container[f"{each}Probe"]["httpGet"]
            for each in ("startup", "readiness", "liveness")
        }
        assert {each["port"] for each in asked.values()} == {"metrics"}
        assert [asked[each]["path"] for each in asked] == ["/readyz", "/readyz", "/livez"]


def test_selectors_take_the_pods_they_are_meant_for(
    everything: tuple[Document, ...], workloads: dict[str, Document]
) -> None:
    pods = {name: labels_of(each) for name, each in workloads.items()}
    deployments = of_kind(everything, "Deployment")
    budgets = of_kind(everything, "PodDisruptionBudget")
    assert budgets.keys() == deployments.keys()
    for name, each in [*deployments.items(), *budgets.items()]:
        assert [pod for pod, own in pods.items() if selects(each["spec"]["selector"], own)] == [
            name
        ]
    (service,) = of_kind(everything, "Service").values()
    assert service["spec"]["selector"].items() <= pods["tenor-gateway"].items()
    policies = of_kind(everything, "NetworkPolicy")
    everywhere = policies["tenor"]["spec"]["podSelector"]
    assert all(selects(everywhere, own) for own in pods.values())
    (monitor,) = of_kind(everything, "PodMonitor").values()
    assert all(selects(monitor["spec"]["selector"], own) for own in pods.values())


def test_no_pod_may_more_than_it_needs(workloads: dict[str, Document]) -> None:
    """What the Pod Security Standard `restricted` asks, and a file system that is only read."""
    for each in workloads.values():
        pod, container = pod_of(each)["securityContext"], container_of(each)["securityContext"]
        assert pod["runAsNonRoot"] and pod["runAsUser"] == 10001
        assert pod["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["readOnlyRootFilesystem"] and not container["allowPrivilegeEscalation"]
        assert container["capabilities"] == {"drop": ["ALL"]}
        assert pod_of(each)["automountServiceAccountToken"] is False


def test_only_speech_takes_a_gpu() -> None:
    taken = {
        name: env_of(each)["TENOR_DEVICE"]
        for name, each in of_kind(rendered(ROOT / "gpu"), "Deployment").items()
        if "nvidia.com/gpu" in container_of(each)["resources"]["limits"]
    }
    assert taken == {"tenor-audio": "cuda"}


def test_the_operator_has_the_alerts_that_prometheus_has() -> None:
    script = runpy.run_path(str(ROOT / "rules.py"))
    if not script["RULES"].is_dir():
        pytest.skip("no deploy/prometheus/rules here")
    assert documents(script["RESOURCE"]) == [script["resource"](script["RULES"])], (
        "run `python deploy/k8s/rules.py`"
    )
