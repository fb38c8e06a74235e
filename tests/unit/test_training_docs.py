"""docs/training.md names the fields of a manifest and the corpora that there are."""

from __future__ import annotations

import re
from pathlib import Path

from models.train.manifest import Row
from models.train.terms import TERMS

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_example_is_a_line_of_a_manifest() -> None:
    [line] = re.findall(r'^ {4}(\{"id".*\})$', PAGE, re.M)
    row = Row.model_validate_json(line)
    assert row.sentiment == -0.8


def test_every_field_and_every_corpus_is_described() -> None:
    for name in Row.model_fields:
        assert f"`{name}`" in PAGE, name
    for name in set(TERMS) - {"manifest", "speech"}:
        assert TERMS[name].title.partition(" (")[0].partition(",")[0] in PAGE, name
