"""`tenor eval matching` on photos that nobody has seen: the pictures of the demo call."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli_eval import matching


@pytest.fixture
def photos(demo_call: Path, tmp_path: Path) -> Path:
    """A folder as Flickr8k and COCO are: pictures, and what they show."""
    shown = json.loads((demo_call / "script.json").read_text())["images"]
    for each in shown:
        shutil.copy(demo_call / each["file"], tmp_path)
    rows = [
        {"file": each["file"], "captions": [each["alt"], f"A photo of {each['alt']}"]}
        for each in shown
    ]
    made = [row | {"split": "test"} for row in rows]
    (tmp_path / "captions.json").write_text(json.dumps(made))
    return tmp_path


def test_texts_find_pictures_among_as_many_as_there_are(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENOR_CACHE", str(photos / "cache"))
    done = CliRunner().invoke(matching, [str(photos), "--split", "test", "--json"])
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["n"] == figures["gallery"] == 3
    assert (figures["captions"], figures["seen"]) == (6, 0)
    assert figures["recall_at"]["1"] >= 0.5  # chance: 0.33
    assert figures["recall_at"]["5"] == figures["recall_at"]["10"] == 1.0
    assert figures["recall_at_image_to_text"].keys() == {"1", "5", "10"}


def test_a_split_that_is_not_there_is_told_with_those_that_are(photos: Path) -> None:
    done = CliRunner().invoke(matching, [str(photos), "--split", "validation"])
    assert done.exit_code == 1
    assert "'validation'" in done.output
    assert "test" in done.output


def test_a_model_that_is_none_is_told_in_a_line(photos: Path) -> None:
    done = CliRunner().invoke(matching, [str(photos), "--split", "test", "--model", str(photos)])
    assert done.exit_code == 1
    assert "tenor train align" in done.output
