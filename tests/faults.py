"""A worker whose models fall sick when told to; everything else is the real one.

    TENOR_TEST_FAULTS=FOLDER python -m tests.faults worker ...

While `FOLDER/speech.hang` exists, every call of the recogniser hangs, and while
`FOLDER/speech.raise` does, every call raises; likewise for `vad`, `text` and `image`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

# ruff: noqa: ANN401 - it stands before methods of any kind
from models import registry
from streams import cli

METHODS: Final = {"speech": "transcribe", "vad": "step", "text": "encode", "image": "recognize"}
"""What each model of the registry is called by."""


def infect(model: str, folder: Path) -> None:
    """Lets the registry load a model that falls sick when told to."""
    load = getattr(registry, f"load_{model}")

    def loaded(*args: Any, **options: Any) -> Any:
        made = load(*args, **options)
        method = METHODS[model]
        setattr(made, method, sick(getattr(made, method), folder / model))
        return made

    setattr(registry, f"load_{model}", loaded)


def sick(run: Callable[..., Any], fault: Path) -> Callable[..., Any]:
    """The method, for as long as it is not told otherwise."""

    def call(*args: Any) -> Any:
        while fault.with_suffix(".hang").exists():
            time.sleep(0.05)
        if fault.with_suffix(".raise").exists():
            raise RuntimeError("the device is gone")
        return run(*args)

    return call


if __name__ == "__main__":
    for name in METHODS:
        infect(name, Path(os.environ["TENOR_TEST_FAULTS"]))
    cli.main()
