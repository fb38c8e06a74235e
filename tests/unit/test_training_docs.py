"""docs/training.md names commands, options, settings and fields that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from models.train.manifest import Row
from models.train.terms import TERMS
from streams.cli import main
from streams.settings import Settings

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^ {4}(tenor (?:.*\\\n)*.*)$", PAGE, re.M)
INLINE = re.findall(r"`(tenor (?:train|eval) [^`]*)`", PAGE)
COMMANDS = sorted({" ".join(each.replace("\\\n", " ").split()) for each in BLOCKS + INLINE})


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_have_the_options_that_they_are_shown_with(line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = main
    while isinstance(command, click.Group):
        name = words.pop(0)
        assert name in command.commands, name
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known


def test_settings_are_ours() -> None:
    named = set(re.findall(r"TENOR_([A-Z_]+)", PAGE))
    assert named
    assert {name.lower() for name in named} <= set(Settings.model_fields)


def test_the_example_is_a_line_of_a_manifest() -> None:
    [line] = re.findall(r'^ {4}(\{"id".*\})$', PAGE, re.M)
    row = Row.model_validate_json(line)
    assert row.sentiment == -0.8


def test_every_field_and_every_corpus_is_described() -> None:
    for name in Row.model_fields:
        assert f"`{name}`" in PAGE, name
    for name in set(TERMS) - {"manifest", "speech"}:
        assert TERMS[name].title.partition(" (")[0].partition(",")[0] in PAGE, name
