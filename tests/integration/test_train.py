"""One's own recordings: a fusion model is trained on them, killed meanwhile, and measured."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from PIL import Image

from models.base import SAMPLE_RATE
from models.fusion import FusionModel
from models.train import checkpoint, corpora
from streams.cli import main

ASK = "What about the delivery?"
SAID = {
    "joy": ("Thank you, this is wonderful!", "I love it, great work.", "That makes me so happy."),
    "anger": (
        "This is terrible, I hate it.",
        "You never listen, I am furious.",
        "What a disgrace.",
    ),
}
CALLS = 24


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls in which somebody asks and a customer is glad or angry, in words, in a tone that rises
    or falls, and with a face that is a gradient."""
    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for call in range(CALLS):
        emotion = ("joy", "anger")[call % 2]
        split = "test" if call >= CALLS - 6 else "train"
        common = {"session": f"call{call}", "split": split}
        rows.append({**common, "id": f"{call}-0", "speaker": "agent", "text": ASK, "end": 2.0})
        rows[-1] |= {"sentiment": 0.0, "emotion": "neutral"}
        for turn, text in enumerate(SAID[emotion], 1):
            name = f"{call}-{turn}"
            glad = emotion == "joy"
            _tone(folder / f"{name}.wav", glad, random)
            _face(folder / f"{name}.png", glad, random)
            rows.append({**common, "id": name, "speaker": f"customer{call}", "text": text})
            rows[-1] |= {"start": 3.0 * turn, "end": 3.0 * turn + 1, "emotion": emotion}
            rows[-1] |= {"sentiment": 1.0 if glad else -1.0}
            rows[-1] |= {"audio": f"{name}.wav", "image": f"{name}.png"}
    (folder / corpora.MANIFEST).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


def _tone(path: Path, rises: bool, random: np.random.Generator) -> None:
    pitch = np.geomspace(120, 240, SAMPLE_RATE)[:: 1 if rises else -1]
    sound = 0.3 * np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE))
    soundfile.write(path, sound + 0.01 * random.standard_normal(len(sound)), SAMPLE_RATE)


def _face(path: Path, bright: bool, random: np.random.Generator) -> None:
    rows = np.linspace(60, 200, 48)[:: 1 if bright else -1, None]
    pixels = rows + random.normal(0, 10, (48, 48))
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def command(recordings: Path, out: Path, cache: Path) -> list[str]:
    folders = {"data": recordings, "out": out, "cache": cache}
    return ["train", "fusion", "--json", *(f"--{k}={v}" for k, v in folders.items())]


def told(*arguments: str) -> dict[str, Any]:
    """What a command that succeeds says on standard output, which is one line of JSON."""
    said = CliRunner().invoke(main, arguments)
    assert said.exit_code == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.fixture(scope="module")
def trained(recordings: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "fusion"
    told(*command(recordings, out, cache))
    return out


def test_a_killed_training_goes_on_to_the_same_model(
    recordings: Path, cache: Path, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "fusion"
    arguments = command(recordings, out, cache)
    run = subprocess.Popen([sys.executable, "-m", "streams.cli", *arguments])
    try:
        while not list(out.glob(f"*/{checkpoint.FILE}")):
            assert run.poll() is None, "it was over before it could be killed"
            time.sleep(0.001)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (out / "model.json").exists()
    [kept] = out.glob(f"*/{checkpoint.FILE}")
    state = checkpoint.load(kept.parent)
    assert state is not None
    assert state[1]["history"]["learned"]

    told(*arguments)

    assert FusionModel.load(out).revision == FusionModel.load(trained).revision
    assert not list(out.glob(f"*/{checkpoint.FILE}"))


def test_it_is_measured_in_every_pattern(recordings: Path, cache: Path, trained: Path) -> None:
    corpus = ["--dataset", "manifest", str(recordings), "--split", "test", "--json"]
    figures = told("eval", "sentiment", *corpus, "--model", str(trained), "--cache", str(cache))

    assert (figures["dataset"], figures["split"], figures["n"]) == ("manifest", "test", 24)
    assert figures["model"] == FusionModel.load(trained).revision
    words, everything = figures["patterns"]["text"], figures["patterns"]["text+audio+image"]
    assert (words["n"], everything["n"]) == (24, 18)
    assert len(figures["patterns"]) == 7
    assert words["sentiment"]["accuracy"] > 0.8
    assert words["emotion"]["accuracy"] > 0.8
    assert everything["sentiment"]["accuracy"] > 0.8


def test_it_has_a_card_with_its_pictures(trained: Path) -> None:
    card = (trained / "MODEL_CARD.md").read_text(encoding="utf-8")

    assert "own recordings" in card
    assert FusionModel.load(trained).revision in card
    assert (trained / "learning.png").is_file()
