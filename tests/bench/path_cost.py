"""What a call costs now and what it cost at another commit: `tenor load` of both, turn by turn.

    python -m tests.bench.path_cost --before COMMIT --runs 3

Prints JSON: of each figure the median and extremes before and after, and the ratio of the
medians, after to before. The other commit is checked out beside this one and runs on the libraries
of this one.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from tests.bench.join_load import summary

ROOT: Final = Path(__file__).parents[2]
FIGURES: Final[Mapping[str, Sequence[str]]] = {
    "cores per call beside speech": ("cpu_cores", "per_call", "beside_speech"),
    "of them the event loop": ("cpu_cores", "per_call", "event_loop"),
    "of them other models": ("cpu_cores", "per_call", "other_models"),
    "of them the rest": ("cpu_cores", "per_call", "rest"),
    "cores per call for speech": ("cpu_cores", "per_call", "speech"),
    "cores of a worker without calls": ("cpu_cores", "idle", "workers"),
    "final caption p95, s": ("latency_s", "final", "p95"),
    "sentiment p50, s": ("latency_s", "sentiment", "p50"),
    "sentiment p95, s": ("latency_s", "sentiment", "p95"),
}
"""Where `tenor load --json` says them of its run."""


@click.command()
@click.option("--before", required=True, help="The commit to compare with.")
@click.option("--runs", default=3, show_default=True, help="Of each.")
@click.option("--sessions", default=2, show_default=True)
@click.option("--minutes", default=2.0, show_default=True)
def main(before: str, runs: int, sessions: int, minutes: float) -> None:
    """Compares the cost of calls with that at another commit."""
    arguments = ["--private", "--sessions", str(sessions), "--minutes", str(minutes), "--json"]
    found: dict[str, list[dict[str, Any]]] = {"before": [], "after": []}
    with checked_out(before) as other:
        for number in range(runs):
            for name, folder in (("before", other), ("after", ROOT)):
                print(f"run {number + 1} of {runs}, {name} ..", file=sys.stderr)
                found[name].append(played(folder, arguments))
    said = {"machine": found["after"][0]["machine"], "cpu": found["after"][0]["cpu"]}
    runs_of = {name: [each["run"] for each in figures] for name, figures in found.items()}
    click.echo(json.dumps(said | compared(runs_of["before"], runs_of["after"]), indent=2))


@contextmanager
def checked_out(commit: str) -> Iterator[Path]:
    """A folder with the project as it was at a commit."""
    with tempfile.TemporaryDirectory() as above:
        folder = Path(above) / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def played(folder: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """What `tenor load` of that folder measures; its status says only whether the load was held."""
    command = [sys.executable, "-m", "streams.cli", "load", *arguments]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, check=False)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def compared(
    before: Sequence[Mapping[str, Any]], after: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Each of `FIGURES` of runs before and after."""
    result: dict[str, Any] = {}
    for name, path in FIGURES.items():
        old, new = ([_at(run, path) for run in runs] for runs in (before, after))
        result[name] = {
            "before": summary(old),
            "after": summary(new),
            "ratio": round(statistics.median(new) / statistics.median(old), 3),
        }
    return result


def _at(run: Mapping[str, Any], path: Sequence[str]) -> float:
    value: Any = run
    for name in path:
        value = value[name]
    return float(value)


if __name__ == "__main__":
    main()
