"""What clients are told, and that the docs list it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from streams.gateway.problems import REASON_BYTES, SCHEMA, Kind, Problem, responses

DOCS = Path(__file__).parents[2] / "docs" / "gateway.md"


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_is_a_kind_of_its_own(kind: Kind) -> None:
    """An enum makes two names of one value the same member."""
    assert [each for each in Kind if each.type == kind.type] == [kind]
    assert len(Kind.__members__) == len(Kind)
    assert 400 <= kind.status < 600
    assert kind.close_code in range(1001, 1015)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("wait_s", [None, 0, 0.2, 7.5])
def test_a_document_is_as_its_schema_says(kind: Kind, wait_s: float | None) -> None:
    problem = Problem(kind, "do this", retry_after_s=wait_s)
    told = problem.document()
    Draft202012Validator(SCHEMA).validate(told)
    assert (told["status"], told["detail"]) == (problem.status, "do this")
    assert ("Retry-After" in problem.headers) is (wait_s is not None)


def test_who_must_wait_is_told_whole_seconds_rounded_up() -> None:
    headers = Problem(Kind.RATE, "wait", retry_after_s=1.2).headers
    assert headers["Retry-After"] == "2"
    assert Problem(Kind.RATE, "wait", retry_after_s=0.0).headers["Retry-After"] == "1"


def test_who_has_no_key_is_told_how_to_give_one() -> None:
    assert "Bearer" in Problem(Kind.UNAUTHENTICATED, "no key").headers["WWW-Authenticate"]


@pytest.mark.parametrize("letter", ["a", "ä", "€", "😀"])
def test_a_reason_fits_into_a_closing(letter: str) -> None:
    reason = Problem(Kind.TOO_LARGE, 200 * letter).reason
    assert reason.startswith("Too large: ")
    assert REASON_BYTES - 4 < len(reason.encode()) <= REASON_BYTES


def test_kinds_of_one_status_share_a_response() -> None:
    told = responses(Kind.FORBIDDEN, Kind.FOREIGN_ORIGIN, Kind.RATE)
    assert set(told) == {403, 429}
    assert told[403]["description"] == "Not allowed; Foreign origin"


def test_the_docs_list_all() -> None:
    lines = DOCS.read_text().splitlines()
    start = lines.index("| problem | status | closes with | title |") + 2
    rows = [
        f"| `{kind.type.rpartition(':')[2]}` | {kind.status} | {kind.close_code} | {kind.title} |"
        for kind in Kind
    ]
    assert lines[start : start + len(rows) + 1] == [*rows, ""]
