"""Keys are shown once, kept as hashes, and count as long as the file says so."""

from __future__ import annotations

import json
import logging
import multiprocessing
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli_gateway import keys as command
from streams.gateway import keys
from streams.gateway.keys import EVERY_S, Caller, KeyRing, KeysError, Scope

READER = Caller("page", frozenset({Scope.READ}), "acme/")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "etc" / "keys.json"


def test_a_key_is_found_by_what_was_shown_and_the_file_does_not_hold_it(file: Path) -> None:
    key = keys.add(file, READER, "2030-01-01")
    assert key.startswith("tenor_")
    assert len(key) > 40
    assert key not in file.read_text()
    ring = KeyRing(file)
    assert ring.find(key) == READER
    assert ring.find(key[:-1]) is None
    assert ring.find("") is None
    assert ring.find("schlüssel") is None


def test_only_its_owner_reads_a_new_file_and_a_change_keeps_who_may(file: Path) -> None:
    keys.add(file, READER, "")
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    keys.revoke(file, "page")
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in file.parent.iterdir() if each.suffix != ".lock"] == ["keys.json"]


def test_no_two_keys_are_the_same(file: Path) -> None:
    made = [keys.add(file, Caller(f"k{n}", frozenset({Scope.READ})), "") for n in range(5)]
    assert len(set(made)) == 5
    assert len(keys.load(file)) == 5


def test_a_name_is_had_once(file: Path) -> None:
    keys.add(file, READER, "")
    with pytest.raises(KeysError, match="revoke it, or take another name"):
        keys.add(file, READER, "")
    with pytest.raises(KeysError, match="no key other"):
        keys.revoke(file, "other")


@pytest.mark.parametrize("name", ["", "a b", "ä", 65 * "a", "a\n", "../x"])
def test_a_name_is_a_word(file: Path, name: str) -> None:
    with pytest.raises(KeysError, match="a name is"):
        keys.add(file, Caller(name, frozenset()), "")


def _add_some(file: Path, who: str) -> None:
    for number in range(10):
        keys.add(file, Caller(f"{who}-{number}", frozenset({Scope.READ})), "")


def test_two_people_may_add_at_once(file: Path) -> None:
    """What one of them writes the other does not undo."""
    context = multiprocessing.get_context("fork")
    both = [context.Process(target=_add_some, args=(file, who)) for who in ("a", "b")]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(keys.load(file)) == 20


def test_admin_may_all_and_others_what_they_may() -> None:
    assert Caller("x", frozenset({Scope.ADMIN})).may(Scope.INGEST)
    assert READER.may(Scope.READ)
    assert not READER.may(Scope.INGEST)
    assert not READER.may(Scope.ADMIN)


def test_a_namespace_is_what_sessions_begin_with() -> None:
    assert READER.owns("acme/call-1")
    assert not READER.owns("acme")
    assert not READER.owns("umbra/acme/")
    assert Caller("x", frozenset()).owns("anything")


def test_a_ring_sees_that_a_key_was_added_and_revoked(file: Path) -> None:
    first = keys.add(file, READER, "")
    clock = Clock()
    ring = KeyRing(file, clock)
    second = keys.add(file, Caller("other", frozenset({Scope.INGEST})), "")
    keys.revoke(file, "page")
    assert ring.find(first) == READER, "it does not look at the file for each request"
    clock.now += EVERY_S
    assert ring.find(first) is None
    assert ring.find(second) == Caller("other", frozenset({Scope.INGEST}))
    assert not ring.holds(READER)


def test_a_caller_whose_scopes_were_changed_is_another(file: Path) -> None:
    keys.add(file, READER, "")
    clock = Clock()
    ring = KeyRing(file, clock)
    assert ring.holds(READER)
    file.write_text(file.read_text().replace("acme/", "umbra/"))
    clock.now += EVERY_S
    assert not ring.holds(READER)


@pytest.mark.parametrize("spoilt", [None, "", "{", "[]", '{"keys": [{"name": "x"}]}'])
def test_a_file_that_is_spoilt_changes_nothing_until_it_is_mended(
    file: Path, spoilt: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    key, clock = keys.add(file, READER, ""), Clock()
    ring, good = KeyRing(file, clock), file.read_text()
    if spoilt is None:
        file.unlink()
    else:
        file.write_text(spoilt)
    clock.now += EVERY_S
    with caplog.at_level(logging.ERROR):
        assert ring.find(key) == READER
    assert "the keys of before still count" in caplog.text
    file.write_text(json.dumps({"keys": []}))
    clock.now += EVERY_S
    assert ring.find(key) is None
    file.write_text(good)
    clock.now += EVERY_S
    assert ring.find(key) == READER


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": ["all"]},
        {"scopes": "read"},
        {"sha256": "abc"},
        {"name": 3},
        {"namespace": None},
        {"sha256": None},
    ],
)
def test_a_file_of_something_else_is_refused(file: Path, change: dict[str, object]) -> None:
    keys.add(file, READER, "")
    data = json.loads(file.read_text())
    data["keys"][0] |= change
    file.write_text(json.dumps(data))
    with pytest.raises(KeysError, match="is not a file of"):
        KeyRing(file)


def test_a_name_that_is_there_twice_is_refused(file: Path) -> None:
    keys.add(file, READER, "")
    data = json.loads(file.read_text())
    file.write_text(json.dumps({"keys": data["keys"] * 2}))
    with pytest.raises(KeysError, match="two keys of one name"):
        keys.load(file)


def test_a_file_that_is_missing_or_huge_is_told(file: Path) -> None:
    with pytest.raises(KeysError, match="tenor keys add"):
        KeyRing(file)
    file.parent.mkdir()
    with file.open("wb") as made:
        made.truncate(keys.LARGEST + 1)
    with pytest.raises(KeysError, match="larger than"):
        keys.load(file)


def run(*args: str, file: Path, ok: bool = True) -> tuple[str, str]:
    """Standard output and errors of `tenor keys`."""
    result = CliRunner().invoke(command, args, env={"TENOR_GATEWAY_KEYS_FILE": str(file)})
    assert (result.exit_code == 0) is ok, result.output
    return result.stdout, result.stderr


def test_the_commands(file: Path) -> None:
    out, _ = run("add", "page", "--scope", "read", "--namespace", "acme/", file=file)
    assert KeyRing(file).find(out.strip()) == READER
    run("add", "phones", file=file)
    listed, _ = run("list", file=file)
    assert [line.split("\t")[:3] for line in listed.splitlines()] == [
        ["page", "read", "acme/"],
        ["phones", "ingest,read", "*"],
    ]
    assert out.strip() not in listed
    run("revoke", "page", file=file)
    assert "page" not in run("list", file=file)[0]
    assert "no key page" in run("revoke", "page", file=file, ok=False)[1]


def test_the_commands_say_which_setting_is_missing() -> None:
    result = CliRunner().invoke(command, ["list"], env={"TENOR_GATEWAY_KEYS_FILE": ""})
    assert "TENOR_GATEWAY_KEYS_FILE" in result.stderr
    assert result.exit_code == 1
