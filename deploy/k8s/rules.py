"""Writes the alerts of `deploy/prometheus/rules` as the resource that Prometheus Operator reads.

    python deploy/k8s/rules.py

Kustomize cannot: what it takes from outside a folder must be whole resources, and Prometheus reads
none. A test says when it is to be run again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import yaml

HERE: Final = Path(__file__).parent
RULES: Final = HERE.parent / "prometheus" / "rules"
RESOURCE: Final = HERE / "components" / "monitoring" / "rules.yaml"
HEAD: Final = "# Made by deploy/k8s/rules.py from deploy/prometheus/rules: change those.\n"


def resource(folder: Path) -> dict[str, Any]:
    """All groups of a folder's rules, file by file."""
    files = [yaml.safe_load(each.read_text()) for each in sorted(folder.glob("*.yml"))]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "tenor"},
        "spec": {"groups": [group for file in files for group in file["groups"]]},
    }


if __name__ == "__main__":
    RESOURCE.write_text(HEAD + yaml.safe_dump(resource(RULES), sort_keys=False, width=100))
