"""What clients get of the logs, whatever happens in whatever order: no hole, no repetition.

A model of the logs, two gateways of which each has a tail at some place of them, and a client that
connects now to the one, now to the other, goes away at any moment, and comes back with the cursor
of the last result that it got. The seam is the real one; Kafka is a dict of lists.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import cycle

from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from streams.events import Event, EventType, Topics
from streams.gateway.cursor import Cursor
from streams.gateway.results import cursor_of
from streams.gateway.seam import Bounds, Entry, Merge, Place, Recent, Seam, Span, newest
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Gap,
    Result,
    SentimentWindow,
    Silence,
    result_event,
)

TOPICS = Topics.of("")
NAMES = TOPICS.recognition, TOPICS.sentiment
PARTITIONS = 2
PLACES: list[Place] = [(name, n) for name in NAMES for n in range(PARTITIONS)]
SESSIONS = {0: ("a", "b"), 1: ("c",)}
"""By the partition that they are on."""
BOUNDS = Bounds(entries=5, size=10**9, ids=1000)


def entry(place: Place, offset: int, session: str, id_: str) -> Entry:
    event = Event(EventType.CAPTION_SILENCE, id_, "t", session, 0)
    return Entry(place, offset, 0, event, Silence(session=session, channel="", start=0, end=0))


class Gateway:
    """Its tail, and the seam of the one client that may be connected to it."""

    def __init__(self) -> None:
        self.tail: dict[Place, int] = {}
        self.seam: Seam | None = None
        self.session: str | None = None
        self.span: dict[Place, Span] = {}

    @property
    def ends(self) -> dict[Place, int]:
        return {place: end for place, end in self.tail.items() if self.wants_place(place)}

    def wants_place(self, place: Place) -> bool:
        return self.session is None or self.session in SESSIONS[place[1]]


class Reading(RuleBasedStateMachine):
    """The client reads one session, or all of them; it may change its mind when it begins anew."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: dict[Place, list[Entry]] = {place: [] for place in PLACES}
        self.gateways = [Gateway(), Gateway()]
        for each in self.gateways:
            each.tail = dict.fromkeys(PLACES, 0)
        self.written = 0

    @initialize(session=st.sampled_from([None, "a", "c"]))
    def begin(self, session: str | None) -> None:
        self.session = session
        self.got: list[Entry] = []
        self.cursor = ""
        self.home: Gateway | None = None
        self.connection: set[str] = set()

    # --- the logs

    @rule(
        topic=st.sampled_from(NAMES),
        session=st.sampled_from("abc"),
        again=st.booleans(),
        count=st.integers(1, 3),
    )
    def write(self, topic: str, session: str, again: bool, count: int) -> None:
        partition = next(n for n, sessions in SESSIONS.items() if session in sessions)
        log = self.logs[topic, partition]
        before = [each.event.id for each in log if each.event.session == session]
        for _ in range(count):
            self.written += 1
            id_ = before[-1] if again and before else f"{session}{self.written}"
            log.append(entry((topic, partition), len(log), session, id_))

    @rule(gateway=st.integers(0, 1), count=st.integers(1, 4))
    def tail_moves(self, gateway: int, count: int) -> None:
        each = self.gateways[gateway]
        for place in PLACES:
            for found in self.logs[place][each.tail[place] :][:count]:
                each.tail[place] = found.offset + 1
                if each.seam and self.session in (None, found.event.session):
                    each.seam.offer(found)

    # --- the client

    @precondition(lambda self: self.home is None)
    @rule(gateway=st.integers(0, 1))
    def connect(self, gateway: int) -> None:
        home = self.home = self.gateways[gateway]
        home.session = self.session
        start = {place: 0 for place in PLACES if home.wants_place(place)}
        if self.cursor:
            start = offsets(Cursor.parse(self.cursor))
        home.seam = Seam(start, BOUNDS)
        home.seam.attach(home.ends)
        home.span = home.seam.missing()
        self.connection = set()

    def drop(self) -> None:
        assert self.home
        self.home.seam, self.home = None, None

    @precondition(lambda self: self.home is not None)
    @rule(gateway=st.integers(0, 1))
    def come_back(self, gateway: int) -> None:
        self.drop()
        self.connect(gateway)

    @precondition(lambda self: self.home is not None)
    @rule(count=st.integers(1, 8))
    def replay_moves(self, count: int) -> None:
        """The logs are read on a little; when all are read, the client is told so."""
        assert self.home
        home, seam = self.home, self.home.seam
        assert seam
        if seam.live:
            return
        for place, (start, end) in home.span.items():
            upto = min(end, start + count)
            home.span[place] = (upto, end)
            seam.found(
                each
                for each in self.logs[place][start:upto]
                if self.session in (None, each.event.session)
            )
        if all(begin >= end for begin, end in home.span.values()):
            self.take_all()
            if not seam.caught_up():
                seam.attach(home.ends)
                home.span = seam.missing()

    @precondition(lambda self: self.home is not None)
    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        assert self.home
        seam = self.home.seam
        assert seam
        for _ in range(count):
            if (found := seam.take()) is not None:
                self.got.append(found)
                assert found.event.id not in self.connection, "twice in one connection"
                self.connection.add(found.event.id)
                whole = self.session is None
                self.cursor = str(cursor_of(seam.positions, TOPICS, whole=whole))
        if seam.too_slow:
            self.drop()

    @precondition(lambda self: self.home is not None)
    @rule()
    def ping(self) -> None:
        """With nothing to give, the client is given a newer cursor."""
        assert self.home
        seam = self.home.seam
        assert seam
        seam.rest(self.home.ends)
        if seam.live and not seam.too_slow:
            whole = self.session is None
            self.cursor = str(cursor_of(seam.positions, TOPICS, whole=whole))

    def take_all(self) -> None:
        before = -1
        while self.home and len(self.got) > before:
            before = len(self.got)
            self.take(10)

    def teardown(self) -> None:
        """Nobody writes any more; the client stays until it has everything."""
        if not hasattr(self, "got"):
            return
        for gateway in (0, 1):
            self.tail_moves(gateway, 10**6)
        for _ in range(3):  # it may be cut off for what had piled up, and comes back
            if self.home is None:
                self.connect(0)
            self.replay_moves(10**6)
            self.take_all()
        self.check()

    def check(self) -> None:
        by_log: defaultdict[Place, list[Entry]] = defaultdict(list)
        for each in self.got:
            by_log[each.place].append(each)
        for place, log in self.logs.items():
            wanted = [each for each in log if self.session in (None, each.event.session)]
            offsets_got = [each.offset for each in by_log[place]]
            assert offsets_got == sorted(set(offsets_got)), "order, and nothing twice"
            left_out = {each.offset for each in wanted} - set(offsets_got)
            ids = {each.event.id: each.offset for each in reversed(by_log[place])}
            for offset in left_out:
                assert ids.get(log[offset].event.id, offset) < offset, "a hole"
            assert {each.event.id for each in wanted} == set(ids)


def offsets(cursor: Cursor) -> dict[Place, int]:
    return {
        (name, number): pair[NAMES.index(name)]
        for number, pair in cursor.offsets.items()
        for name in NAMES
    }


Reading.TestCase.settings = settings(max_examples=120, stateful_step_count=50)
TestReading = Reading.TestCase


# --- the order of what is read from several logs


@dataclass(frozen=True)
class Stamped:
    """A record that knows where it is from."""

    place: Place
    offset: int
    timestamp: int


LOGS = st.lists(
    st.lists(st.integers(0, 30), max_size=8).map(sorted),
    min_size=len(PLACES),
    max_size=len(PLACES),
)


@given(stamps=LOGS, steps=st.lists(st.integers(1, 3), min_size=1, max_size=5))
def test_logs_are_read_in_the_order_of_writing(stamps: list[list[int]], steps: list[int]) -> None:
    logs = {
        place: [Stamped(place, *numbered) for numbered in enumerate(own)]
        for place, own in zip(PLACES, stamps, strict=True)
    }
    merge, at, got = Merge[Stamped](PLACES), dict.fromkeys(PLACES, 0), list[Stamped]()
    step = cycle(steps)
    while behind := merge.behind:
        for place in behind:
            upto = at[place] + next(step)
            found, at[place] = logs[place][at[place] : upto], upto
            merge.add(place, found, even, done=upto >= len(logs[place]))
        got += merge.take()
    assert sorted(got, key=where) == sorted(kept(logs), key=where), "everything, once"
    assert [each.timestamp for each in got] == sorted(each.timestamp for each in got)
    for place in PLACES:
        own = [each.offset for each in got if each.place == place]
        assert own == sorted(own)


def test_a_stamp_that_goes_back_does_not_change_the_order_of_its_log() -> None:
    first, second = Stamped(PLACES[0], 0, 50), Stamped(PLACES[0], 1, 10)
    other = Stamped(PLACES[1], 0, 20)
    merge = Merge[Stamped](PLACES[:2])
    merge.add(PLACES[0], [first, second], lambda _: True, done=True)
    merge.add(PLACES[1], [other], lambda _: True, done=True)
    assert merge.take() == [other, first, second]


def test_a_log_is_not_read_on_while_others_are_behind() -> None:
    merge = Merge[Stamped](PLACES[:2])
    merge.add(PLACES[0], [Stamped(PLACES[0], 0, 50)], even, done=False)
    assert merge.behind == [PLACES[1]]
    merge.add(PLACES[1], [Stamped(PLACES[1], 0, 70)], even, done=False)
    assert [each.timestamp for each in merge.take()] == [50]
    assert merge.behind == [PLACES[0]]


def even(record: Stamped) -> bool:
    return record.offset % 2 == 0


def kept(logs: dict[Place, list[Stamped]]) -> list[Stamped]:
    return [each for log in logs.values() for each in log if even(each)]


def where(record: Stamped) -> tuple[Place, int]:
    return record.place, record.offset


# --- what need not be given, as something later replaces it

CAPTION = {"text": "", "language": "en", "model": "m", "no_speech_probability": 0.0, "words": ()}
WINDOW = {
    "deviation": 0.1,
    "label": "neutral",
    "confidence": 0.5,
    "emotions": {},
    "contributions": {},
    "evidence": (),
    "model": "m",
}
SPAN = st.tuples(st.integers(0, 2), st.integers(1, 3)).map(lambda s: (s[0] * 10, sum(s) * 10))


def draft(revision: int) -> SentimentWindow:
    where = {"session": "a", "channel": "c", "start": 0, "end": 10}
    return SentimentWindow(**where, revision=revision, final=False, score=0.0, **WINDOW)


@st.composite
def results(draw: st.DrawFn) -> Result:
    start, end = draw(SPAN)
    of = {"session": draw(st.sampled_from("aab")), "channel": "c", "start": start, "end": end}
    revision = draw(st.integers(0, 2))
    match draw(st.integers(0, 6)):
        case 0 | 1:
            return CaptionPartial(**of, revision=revision, **CAPTION)
        case 2:
            return CaptionFinal(**of, revision=0, **CAPTION)
        case 3:
            return Gap(**of, reason="r")
    final = draw(st.booleans())
    return SentimentWindow(**of, revision=revision, final=final, score=0.0, **WINDOW)


@settings(max_examples=300)
@given(st.lists(results(), max_size=25))
@example([draft(2), draft(1)])
@example([draft(1), draft(2), draft(2)])
def test_what_is_left_out_has_been_replaced(said: list[Result]) -> None:
    events = [result_event(each, source="t") for each in said]
    entries = [
        Entry(PLACES[0], offset, 0, event, result)
        for offset, (event, result) in enumerate(zip(events, said, strict=True))
    ]
    given_ = newest(entries)
    assert [each.offset for each in given_] == sorted(each.offset for each in given_)
    assert shown(each.result for each in given_) == shown(said)
    offsets_given = {each.offset for each in given_}
    for each in entries:
        if each.offset not in offsets_given:
            assert isinstance(each.result, CaptionPartial) or not getattr(
                each.result, "final", True
            )
    partials = [each.result for each in given_ if isinstance(each.result, CaptionPartial)]
    assert len({(each.session, each.start) for each in partials}) == len(partials)


def shown(said: Iterable[Result]) -> object:
    """What a reader who follows the rules of `streams.results` has before it in the end."""
    partials: dict[tuple[str, int], Result] = {}
    windows: dict[tuple[str, int], SentimentWindow] = {}
    lasting = list[Result]()
    for each in said:
        match each:
            case CaptionPartial():
                partials[each.session, each.start] = each
            case SentimentWindow():
                before = windows.get((each.session, each.start))
                if before is None or rank(before) <= rank(each):
                    windows[each.session, each.start] = each
            case CaptionFinal() | Gap():
                lasting.append(each)
                for session, start in list(partials):
                    if session == each.session and each.end > start:
                        del partials[session, start]
    return partials, windows, lasting


def rank(window: SentimentWindow) -> tuple[bool, int]:
    return window.final, window.revision


def test_ids_are_remembered_for_a_while() -> None:
    recent = Recent(2)
    assert [recent.new(each) for each in "aabacb"] == [True, False, True, False, True, False]
    assert recent.new("a"), "three others came since"
