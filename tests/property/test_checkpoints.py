"""The succession of owners, by the log alone: whoever writes late, freezes or races, the states
that the next owner finds are those that its predecessor kept, on top of what that one had found."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streams.checkpoints import Succession

Entry = tuple[str, str, str]
"""Owner; session, or '' for a claim; and after whom, or what was kept."""


@dataclass
class Candidate:
    """A process that wants the ledger: it reads, claims, and once it has read that its claim is
    valid it writes. Each of its steps may come at any time."""

    name: str
    log: list[Entry]
    found: dict[str, str] | None = None
    kept: dict[str, str] = field(default_factory=dict)
    _seen: str | None = None
    _claimed: bool = False

    def step(self, session: str, value: str) -> None:
        if self.found is not None:
            self.log.append((self.name, session, value))
            self.kept[session] = value
        elif self._seen is None or self._claimed:
            before = read(self.log)
            self._seen, self._claimed = before.owner, False
            self.found = texts(before) if before.owner == self.name else None
        else:
            self.log.append((self.name, "", self._seen))
            self._claimed = True


def read(log: list[Entry]) -> Succession:
    succession = Succession()
    for owner, session, text in log:
        if session:
            succession.keep(owner, session, {"value": text})
        else:
            succession.claim(owner, text)
    return succession


def texts(succession: Succession) -> dict[str, str]:
    return {session: state["value"] for session, state in succession.states.items()}


steps = st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc")), max_size=60)


@settings(max_examples=1500)
@given(steps)
def test_only_the_last_owner_writes_with_effect(moves: list[tuple[int, str]]) -> None:
    log: list[Entry] = []
    candidates = [Candidate(f"owner-{i}", log) for i in range(4)]
    for place, (who, session) in enumerate(moves):
        before = read(log)
        candidates[who].step(session, str(place))
        after = read(log)
        wrote = len(log) and log[-1][:2] == (candidates[who].name, session)
        if wrote and before.owner != candidates[who].name:
            assert texts(after) == texts(before)
        elif wrote:
            assert texts(after) == texts(before) | {session: str(place)}
    owner = next((each for each in candidates if each.name == read(log).owner), None)
    if owner and owner.found is not None:
        assert texts(read(log)) == owner.found | owner.kept


@settings(max_examples=300)
@given(steps)
def test_of_those_that_race_one_wins(moves: list[tuple[int, str]]) -> None:
    """Whoever has been told that the ledger is its own was so at that place of the log."""
    log: list[Entry] = []
    candidates = [Candidate(f"owner-{i}", log) for i in range(4)]
    for who, session in moves:
        told = [each.found is not None for each in candidates]
        candidates[who].step(session, "x")
        if candidates[who].found is not None and not told[who]:
            assert read(log).owner == candidates[who].name


def test_a_claim_by_one_that_slept_through_another_has_no_effect() -> None:
    log: list[Entry] = [("one", "", ""), ("two", "", "one"), ("two", "call", "2")]
    sleeper: list[Entry] = [("three", "", "one"), ("three", "call", "3"), ("one", "call", "1")]
    assert texts(read(log + sleeper)) == {"call": "2"}


def test_where_the_first_claims_have_been_deleted_the_next_counts() -> None:
    log: list[Entry] = [("two", "call", "2"), ("three", "", "two"), ("two", "call", "late")]
    assert texts(read(log)) == {"call": "2"}
    assert read(log).owner == "three"
