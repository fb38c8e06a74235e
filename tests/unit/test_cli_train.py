"""`tenor train` and `tenor eval sentiment`: what is told, and what goes wrong in one line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from models.base import ModelError
from models.train.corpora import READERS
from streams import cli_eval, figures
from streams.cli import main
from streams.cli_common import told_errors
from streams.cli_train import options, trained


@dataclass(frozen=True)
class OnCpu:
    seed: int = 7
    free: bool = False


@dataclass(frozen=True)
class Anywhere:
    device: str = "cpu"


def test_what_is_not_given_is_left_to_the_trainer() -> None:
    assert options(OnCpu, "auto", {"seed": None, "free": True}) == OnCpu(seed=7, free=True)


def test_the_device_is_for_those_that_have_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert options(Anywhere, "cuda", {}) == Anywhere("cuda")
    assert not capsys.readouterr().err
    assert options(OnCpu, "cuda", {}) == OnCpu()
    assert "trains on the CPU" in capsys.readouterr().err


def test_a_training_that_is_stopped_says_how_to_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped, trained(tmp_path):
        raise KeyboardInterrupt
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "stopped; the same command goes on where it was\n"


def test_errors_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match="no faces"), trained(tmp_path):
        raise ModelError("no faces")
    with pytest.raises(click.ClickException, match="denied"), trained(tmp_path):
        raise PermissionError(13, "Permission denied", str(tmp_path))


def test_packages_that_only_training_needs_are_named() -> None:
    with pytest.raises(click.ClickException, match=r"pip install -e '.\[train\]'"), told_errors():
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn.metrics")
    with pytest.raises(ModuleNotFoundError), told_errors():
        raise ModuleNotFoundError("No module named 'faust'", name="faust")


def test_a_folder_without_data_is_told(tmp_path: Path) -> None:
    command = ["train", "face", "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    said = CliRunner().invoke(main, command)

    assert said.exit_code == 1
    assert said.stderr.startswith("Error: ")
    assert "fer2013" in said.stderr
    assert not said.stdout


def test_every_corpus_with_labels_can_be_measured() -> None:
    assert set(cli_eval.DATASETS) == set(READERS) - {"scored"}


def test_machines_get_one_line_and_people_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"dataset": "x", "n": 2, "mae": 0.5, "same": {"n": 2}, "other": {"n": 1}}

    figures.tell(found, as_json=True)
    assert json.loads(capsys.readouterr().out) == found
    figures.print_figures(found, Console())
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "dataset: x"
    assert [line.split() for line in said[1:]] == [["n", "mae"], ["2", "0.5"], ["other", "1"]]
