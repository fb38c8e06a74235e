"""Which words a prompt is made of, and which texts are too late for it."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from streams.context import (
    KEPT,
    LONGEST_ID,
    PROMPT,
    SEEN,
    Bias,
    Context,
    Heard,
    Text,
    bias,
    names,
    text_of,
)
from streams.events import CodecError, Event, EventType

START = 1_000_000


def typed(content: Mapping[str, object] | str, id_: str = "e1", time: int = START) -> Event:
    plain = isinstance(content, str)
    return Event(
        type=EventType.TEXT_MESSAGE,
        id=id_,
        source="test",
        session="call",
        time=time,
        content_type="text/plain" if plain else "application/json",
        data=(content if isinstance(content, str) else json.dumps(content)).encode(),
    )


def vocabulary(*terms: str, id_: str = "v", time: int = 0, stamp: int = 0) -> Text:
    return Text(stamp, time, id_, "vocabulary", terms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I have the Kestrel Nine, not the Novaband.", ("Kestrel Nine", "Novaband")),
        ("my kestrel-9x says E42 again", ("kestrel-9x", "E42")),
        ("Where is it? Nobody knows.", ()),
        ("I'm sure. Yes, I am. So I'll wait", ()),
        ("Call Siobhan, Xiomara and Thanh", ("Siobhan", "Xiomara", "Thanh")),
        ("Ask Siobhan. Siobhan knows Siobhan.", ("Siobhan",)),
        ("the iPad and the QX-47!", ("iPad", "QX-47")),
        ("PLEASE CALL ME BACK AT ONCE", ()),
        ("pay 40 or 1,200.50 by 2024-05-01", ()),
        ("write to Me@example.com or https://Example.com/A1", ()),
        ("", ()),
        ("- ... ?!", ()),
    ],
)
def test_names_are_what_a_recogniser_may_not_know(text: str, expected: tuple[str, ...]) -> None:
    assert names(text) == expected


def test_a_vocabulary_gives_its_phrases_and_a_message_its_names() -> None:
    said = {"kind": "vocabulary", "vocabulary": ["kestrel  nine", "QX-47"], "text": "Of the Day"}
    assert text_of(typed(said), 7) == Text(7, START, "e1", "vocabulary", ("kestrel nine", "QX-47"))
    said = {"kind": "vocabulary", "text": "kestrel nine; QX-47,\n"}
    assert text_of(typed(said), 7) == Text(7, START, "e1", "vocabulary", ("kestrel nine", "QX-47"))
    said = {"kind": "note", "text": "Is with Doctor Who.", "vocabulary": ["tardis"]}
    assert text_of(typed(said), 7) == Text(7, START, "e1", "note", ("tardis", "Doctor Who"))
    assert text_of(typed("Hello from Durrington"), 7) == Text(
        7, START, "e1", "message", ("Durrington",)
    )


def test_what_says_nothing_is_no_text() -> None:
    assert text_of(typed("thanks, that is all"), 7) is None
    assert text_of(typed("In Durrington", id_="e" * (LONGEST_ID + 1)), 7) is None
    assert text_of(Event(EventType.SESSION_ENDED, "e", "test", "call", START), 7) is None
    with pytest.raises(CodecError):
        text_of(typed({"text": 3}), 7)


def test_a_prompt_holds_vocabulary_first_then_messages() -> None:
    texts = [
        Text(3, 30, "note", "note", ("Durrington", "qx-47")),
        vocabulary("QX-47", "Novaband", id_="old", time=10, stamp=1),
        vocabulary("Kestrel", id_="new", time=20, stamp=2),
    ]
    found = bias(texts, (), start=START, stamp=3, offset=0)
    assert found == Bias("Kestrel, QX-47, Novaband, Durrington.", ("new", "old", "note"))
    assert bias((), (), start=START, stamp=3, offset=0) == Bias()


@pytest.mark.parametrize(
    ("time", "stamp", "known"),
    [
        (START - 2000, 50, True),
        (START - 1999, 50, False),
        (START - 2000, 51, False),
    ],
)
def test_a_text_must_be_there_before_the_utterance(time: int, stamp: int, known: bool) -> None:
    texts = [vocabulary("Kestrel", time=time, stamp=stamp)]
    assert bool(bias(texts, (), start=START, stamp=50, offset=0).prompt) is known


def test_a_prompt_is_short_and_cites_only_what_is_in_it() -> None:
    texts = [vocabulary(f"Term{n:03d}" * 3, id_=f"v{n}", stamp=n) for n in range(40)]
    found = bias(texts, (), start=START, stamp=99, offset=0)
    assert len(found.prompt) <= PROMPT
    assert found.evidence == tuple(f"v{n}" for n in range(39, 39 - SEEN, -1))
    texts = [vocabulary(str(n) * 99, "same", id_=f"v{n}", stamp=n) for n in range(3)]
    found = bias(texts, (), start=START, stamp=99, offset=0)
    assert found == Bias(f"{'2' * 99}, same.", ("v2",))
    texts = [vocabulary("Same", id_=f"v{n}", stamp=n) for n in range(3)]
    assert bias(texts, (), start=START, stamp=99, offset=0) == Bias("Same.", ("v2",))


def test_captions_come_last_and_only_earlier_ones() -> None:
    heard = [
        Heard("next", START - 1999, 6, "Too late for Aaa."),
        Heard("same", START - 2000, 7, "Here is Bbb."),
        Heard("late", START - 2000, 8, "Cut after Ccc."),
        Heard("old", START - 9000, 3, "Once there was Ddd, and kestrel."),
        Heard("plain", START - 3000, 4, "There was nothing."),
    ]
    found = bias([vocabulary("Kestrel")], heard, start=START, stamp=0, offset=7)
    assert found == Bias("Kestrel, Bbb, Ddd.", ("v", "same", "old"))


def test_a_context_is_bounded_and_survives_json() -> None:
    context = Context()
    for n in range(3 * KEPT):
        id_ = f"{n:0{LONGEST_ID}d}"
        said = {"kind": "vocabulary", "vocabulary": [f"{n:03d}{k:02d}" for k in range(500)]}
        text = text_of(typed(said, id_), n)
        assert text is not None
        assert context.add(text)
        assert not context.add(text)
        note = text_of(typed({"kind": "note", "text": "On Ab " * 2000}, id_), n)
        assert note is not None
        context.add(note)
    assert [text.stamp for text in context.texts if text.kind == "note"] == [
        *range(2 * KEPT, 3 * KEPT)
    ]
    state = json.dumps(context.state(), separators=(",", ":"))
    assert len(state) < 12_000
    assert Context.of(json.loads(state)).texts == context.texts
    assert Context.of({}).texts == ()
    assert not context.add(vocabulary("late", stamp=-1))
