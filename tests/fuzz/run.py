"""`make fuzz`: looks for inputs at which a decoder fails, with atheris (libFuzzer for Python).

`python -m tests.fuzz.run [--seconds N] [--keep] [target ..]` gives each target N seconds, one after
the other, from its seeds. What fails is
written to `findings/`. With --keep, inputs that reach what no seed reaches are added to the seeds.
"""

from __future__ import annotations

import argparse
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent
SEEDS: Final = HERE / "seeds"
FINDINGS: Final = HERE / "findings"
SECONDS: Final = 45
LONGEST: Final = 4096
"""Bytes of an input; the limits for large ones are tried in `test_bombs`."""
KEPT: Final = 1024
"""Bytes of an input that is kept, unless it is an example."""
KEPT_EACH: Final = 16
"""Inputs that one run may add to a target's seeds."""
BOUNDS: Final = ("-timeout=10", "-rss_limit_mb=2048", f"-max_len={LONGEST}")
INSTRUMENTED: Final = ("streams", "PIL", "soundfile", "json", "gzip")


def main() -> int:
    """0, or 1 if anything was found."""
    if "--engine" in sys.argv:
        place = sys.argv.index("--engine")
        engine(sys.argv[place + 1], sys.argv[place + 2 :])
    options = _options()
    FINDINGS.mkdir(exist_ok=True)
    found = [fuzz(name, options.seconds, keep=options.keep) for name in options.targets]
    print(f"{sum(found)} findings in {len(found)} targets, {options.seconds} s each", flush=True)
    return int(any(found))


def fuzz(name: str, seconds: int, *, keep: bool) -> bool:
    """Gives a target so many seconds; whether something was found."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "new"
        new.mkdir()
        prefix = f"-artifact_prefix={FINDINGS}/{name}-"
        limits = [*BOUNDS, prefix, f"-max_total_time={seconds}", "-print_final_stats=1"]
        code, log = _run(name, [*limits, str(new), str(SEEDS / name)], Path(folder))
        if keep:
            _keep(name, new, Path(folder))
    runs = re.findall(r"number_of_executed_units: (\d+)", log)
    reached = re.findall(r"ft: (\d+)", log)
    print(f"{name:10} {'FOUND' if code else 'ok':6} {_last(runs)} runs, {_last(reached)} features")
    if code:
        print(log[-3000:], flush=True)
    return code != 0


def engine(name: str, arguments: Sequence[str]) -> None:
    """Runs libFuzzer in this process; does not return."""
    atheris: Any = importlib.import_module("atheris")
    with atheris.instrument_imports(include=list(INSTRUMENTED), enable_loader_override=False):
        from PIL import Image, ImageOps  # noqa: F401

        Image.init()
        import soundfile  # noqa: F401

        from tests.fuzz.targets import TARGETS
    atheris.Setup([str(_executable(name)), *arguments], TARGETS[name])
    atheris.Fuzz()


def _run(name: str, arguments: Sequence[str], folder: Path) -> tuple[int, str]:
    command = [sys.executable, "-m", __spec__.name, "--engine", name, *arguments]
    log = folder / "log"
    with log.open("wb") as file:
        done = subprocess.run(command, cwd=ROOT, stdout=file, stderr=file, check=False)
    return done.returncode, log.read_text(errors="replace")


def _keep(name: str, new: Path, folder: Path) -> None:
    """Adds small inputs that reach what the seeds do not: the longest, as they get furthest."""
    merged = folder / "merged"
    shutil.copytree(SEEDS / name, merged)
    known = {path.name for path in merged.iterdir()}
    small = folder / "small"
    small.mkdir()
    for path in new.iterdir():
        if path.stat().st_size <= KEPT:
            shutil.copy(path, small)
    _run(name, [*BOUNDS, "-merge=1", str(merged), str(small)], folder)
    added = [path for path in merged.iterdir() if path.name not in known]
    for path in sorted(added, key=lambda path: path.stat().st_size)[-KEPT_EACH:]:
        shutil.copy(path, SEEDS / name / path.name[:12])


def _executable(name: str) -> Path:
    """What libFuzzer starts again to merge: a program, where it itself is a Python module."""
    path = Path(tempfile.gettempdir()) / f"tenor-fuzz-{name}"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.fuzz.run --engine {name} "$@"\n')
    path.chmod(0o755)
    return path


def _last(found: Sequence[str]) -> str:
    return found[-1] if found else "?"


def _options() -> argparse.Namespace:
    from tests.fuzz.targets import TARGETS  # the engine imports it in its own way

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("targets", nargs="*", default=list(TARGETS))
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
