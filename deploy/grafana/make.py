"""Writes Grafana's dashboards (schema 41, Grafana 11.6 and later) from `deploy.grafana.boards`.

python -m deploy.grafana.make
"""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path
from typing import Any, Final

from deploy.grafana.boards import DASHBOARDS
from deploy.grafana.panels import Dashboard, Panel

FOLDER: Final = Path(__file__).parent / "dashboards"
SOURCE: Final = {"type": "prometheus", "uid": "${source}"}
RUNBOOK: Final = "docs/operations.md"
COLUMNS: Final = 24
STAT: Final = (4, 4)
GRAPH: Final = (8, 8)
"""Width and height on Grafana's grid."""


def content(dashboard: Dashboard) -> str:
    """The file of a dashboard."""
    return json.dumps(_dashboard(dashboard), indent=1) + "\n"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.name,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["tenor"],
        "schemaVersion": 41,
        "editable": True,
        "timezone": "browser",
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "graphTooltip": 1,
        "links": [_siblings(), _runbook()],
        "templating": {"list": _variables()},
        "panels": _panels(dashboard.panels),
    }


def _siblings() -> dict[str, Any]:
    return {
        "type": "dashboards",
        "title": "Tenor",
        "tags": ["tenor"],
        "asDropdown": False,
        "icon": "external link",
        "tooltip": "",
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "url": "",
    }


def _runbook() -> dict[str, Any]:
    return _siblings() | {
        "type": "link",
        "title": "Runbook",
        "tags": [],
        "icon": "doc",
        "includeVars": False,
        "keepTime": False,
        "targetBlank": True,
        "url": "${runbook}",
    }


def _variables() -> list[dict[str, Any]]:
    instances = "label_values(tenor_ready, instance)"
    return [
        {"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"},
        {
            "name": "instance",
            "label": "Instances",
            "type": "query",
            "datasource": SOURCE,
            "query": {"query": instances, "refId": "instances"},
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
            "current": {"text": "All", "value": "$__all"},
        },
        {
            "name": "runbook",
            "label": "Runbook's address",
            "type": "textbox",
            "query": RUNBOOK,
            "current": {"text": RUNBOOK, "value": RUNBOOK},
        },
    ]


def _panels(panels: tuple[Panel, ...]) -> list[dict[str, Any]]:
    """In rows, from left to right."""
    made, x, y, row = [], 0, 0, 0
    for number, panel in zip(count(1), panels, strict=False):
        width, height = STAT if panel.kind == "stat" else GRAPH
        if x + width > COLUMNS or (row and height != row):
            x, y = 0, y + row
        grid = {"x": x, "y": y, "w": width, "h": height}
        made.append({"id": number, "gridPos": grid, **_panel(panel)})
        x, row = x + width, height
    return made


def _panel(panel: Panel) -> dict[str, Any]:
    see = f"\n\nWhat to do: {RUNBOOK}#{panel.alert.lower()}" if panel.alert else ""
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about + see,
        "datasource": SOURCE,
        "targets": [
            _target(chr(ord("A") + number), legend, query)
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _options(panel),
    }


def _target(letter: str, legend: str, query: str) -> dict[str, Any]:
    return {"refId": letter, "datasource": SOURCE, "expr": query, "legendFormat": legend}


def _field(panel: Panel) -> dict[str, Any]:
    bounds = (("yellow", panel.warn), ("red", panel.bad))
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    steps += [{"color": color, "value": bound} for color, bound in bounds if bound is not None]
    field: dict[str, Any] = {
        "unit": panel.unit,
        "min": 0,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind == "timeseries":
        field["custom"] = {
            "fillOpacity": 40 if panel.stacked else 5,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if len(steps) > 1 else "off"},
        }
    return field


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        return {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "colorMode": "value"}
    legend = {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []}
    return {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for dashboard in DASHBOARDS:
        (FOLDER / f"{dashboard.name}.json").write_text(content(dashboard))


if __name__ == "__main__":
    main()
