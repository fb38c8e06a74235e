"""Every kept input is decoded or refused as documented: the examples, and what fuzzing found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fuzz.examples import examples
from tests.fuzz.targets import TARGETS, joined, parts

SEEDS = Path(__file__).parent / "seeds"
MOST_FILES, MOST_BYTES = 400, 1_000_000


def files(name: str) -> list[Path]:
    return sorted((SEEDS / name).iterdir())


@pytest.mark.filterwarnings("ignore")  # Pillow has much to say about broken files
@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_decoded_or_refused(name: str) -> None:
    for path in files(name):
        TARGETS[name](path.read_bytes())


def test_the_examples_are_seeds() -> None:
    for target, name, _ in examples():
        assert (SEEDS / target / f"example-{name}").is_file()


def test_seeds_are_few_and_small() -> None:
    sizes = [path.stat().st_size for name in TARGETS for path in files(name)]
    assert len(sizes) < MOST_FILES
    assert sum(sizes) < MOST_BYTES


@pytest.mark.parametrize("data", [b"\0\1a\0\2bc", b"\0\1a\xff\xff\0\0"])
def test_fields_are_cut_as_they_were_joined(data: bytes) -> None:
    assert joined(parts(data)) == data


def test_an_error_that_is_not_documented_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The targets can fail: each one's decoder is made to raise something else."""

    def broken(*_: object, **__: object) -> Callable[[], None]:
        raise KeyError

    for name, decoder in (("png", "decode_image"), ("wav", "decode_audio"), ("script", "load")):
        monkeypatch.setattr(f"tests.fuzz.targets.{decoder}", broken)
        with pytest.raises(KeyError):
            TARGETS[name](b"")
