"""OpenAI's realtime transcription without sockets: its sessions, its events, results in them.

Every event that a client is told is validated by the official client's own types.
"""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pytest
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from streams.gateway.openai_messages import Append, Configured, Conversation, Cut, Deed
from streams.gateway.openai_session import BadEvent, Config, Hint, updated
from streams.results import CaptionFinal, CaptionPartial, Gap, PartialWord, Silence, Word

T0 = 1_700_000_000_000
EVENTS: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)

Event = dict[str, Any]


def checked(events: list[Event]) -> list[Event]:
    """The same, if the official client understands them."""
    for event in events:
        assert EVENTS.validate_json(json.dumps(event)).type == event["type"]
    assert len({event["event_id"] for event in events}) == len(events)
    return events


def kinds(events: list[Event]) -> list[str]:
    return [event["type"].rpartition(".")[2] for event in checked(events)]


class Client:
    """Somebody in a conversation."""

    def __init__(self, ms: float = 0, **input_: object) -> None:
        self.core = Conversation("sess", Config("en"))
        if input_:
            self.update(**input_)
        self.core.begin(T0)
        self.core.take(ms)

    def send(self, type_: str, **fields: object) -> list[Event]:
        events, self.deed = self.core.event(json.dumps({"type": type_, **fields}))
        return checked(events)

    def update(self, **input_: object) -> list[Event]:
        session = {"type": "transcription", "audio": {"input": input_}}
        return self.send("session.update", session=session)

    def commit(self) -> list[Event]:
        return self.send("input_audio_buffer.commit")

    def hear(self, *results: CaptionPartial | CaptionFinal | Silence | Gap) -> list[Event]:
        return checked([event for result in results for event in self.core.result(result)])

    deed: Deed | None = None


def span(start: int, end: int) -> dict[str, Any]:
    return {"session": "s", "channel": "1", "start": T0 + start, "end": T0 + end}


def final(start: int, end: int, text: str) -> CaptionFinal:
    words = tuple(
        Word(text=word, start=T0 + start + 10 * n, end=T0 + start + 10 * n + 9, probability=0.5)
        for n, word in enumerate(text.split())
    )
    heard: dict[str, Any] = {"language": "en", "model": "m", "no_speech_probability": 0}
    return CaptionFinal(**span(start, end), **heard, text=text, words=words, revision=0)


def partial(start: int, end: int, text: str, stable: int = 0, revision: int = 0) -> CaptionPartial:
    """Of whose words so many are stable."""
    whole = final(start, end, text).model_dump() | {"revision": revision}
    words = [PartialWord(**w, stable=n < stable) for n, w in enumerate(whole.pop("words"))]
    return CaptionPartial(**whole, words=tuple(words))


def said(events: list[Event]) -> str:
    return "".join(event["delta"] for event in events if event["type"].endswith(".delta"))


def transcripts(events: list[Event]) -> list[str]:
    return [event["transcript"] for event in events if event["type"].endswith(".completed")]


# --- sessions


def test_a_session_begins_with_what_is_in_effect() -> None:
    (event,) = checked([Client().core.created()])
    assert event["type"] == "session.created" and event["session"]["type"] == "transcription"
    given = event["session"]["audio"]["input"]
    assert given["format"] == {"type": "audio/pcm", "rate": 24_000}
    assert given["turn_detection"]["type"] == "server_vad"


def test_a_session_is_set() -> None:
    client = Client()
    (event,) = client.update(
        format={"type": "audio/pcmu"},
        transcription={"model": "gpt-4o-transcribe", "language": "en", "prompt": "A, B c"},
        turn_detection=None,
        noise_reduction=None,
    )
    assert event["type"] == "session.updated"
    told = event["session"]["audio"]["input"]
    assert told["format"] == {"type": "audio/pcmu"} and told["turn_detection"] is None
    assert told["transcription"]["model"] == "gpt-4o-transcribe"
    assert isinstance(client.deed, Configured)
    assert client.deed.config.hints == (Hint("vocabulary", ("A", "B c")),)
    (event,) = client.update(format={"type": "audio/pcma"})  # the rest stays
    assert event["session"]["audio"]["input"]["turn_detection"] is None


def test_what_detection_really_does_is_told() -> None:
    wanted = {"type": "server_vad", "threshold": 0.9, "silence_duration_ms": 50}
    (event,) = Client().update(turn_detection=wanted)
    detection = event["session"]["audio"]["input"]["turn_detection"]
    assert (detection["threshold"], detection["silence_duration_ms"]) == (0.5, 512)


@pytest.mark.parametrize(
    ("prompt", "hints"),
    [
        ("", ()),
        ("Kowalczyk, KX-4471\nred cup", (Hint("vocabulary", ("Kowalczyk", "KX-4471", "red cup")),)),
        ("A call. Of trade.", (Hint("note", text="A call. Of trade."),)),
        ("a text of more than four words", (Hint("note", text="a text of more than four words"),)),
    ],
)
def test_a_prompt_is_a_list_or_a_text(prompt: str, hints: tuple[Hint, ...]) -> None:
    session = {"audio": {"input": {"transcription": {"prompt": prompt}}}}
    assert updated(Config("en"), session).hints == hints


def test_keywords_are_expected() -> None:
    session = {"audio": {"input": {"transcription": {"keywords": ["a  b", "c", "c"]}}}}
    assert updated(Config("en"), session).hints == (Hint("vocabulary", ("a b", "c")),)


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ([], "session"),
        ({"type": "realtime"}, "session.type"),
        ({"instructions": "x"}, "session.instructions"),
        ({"include": ["x"]}, "session.include"),
        ({"audio": {"output": {}}}, "session.audio.output"),
        ({"audio": {"input": {"x": 1}}}, "session.audio.input.x"),
        ({"audio": {"input": []}}, ""),
        ({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}, "noise_reduction"),
        ({"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}, "turn_detection"),
        ({"audio": {"input": {"turn_detection": {"x": 1}}}}, "turn_detection.x"),
        ({"audio": {"input": {"format": "mp3"}}}, "format"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}, "rate"),
        ({"audio": {"input": {"transcription": {"model": "gpt-4o"}}}}, "model"),
        ({"audio": {"input": {"transcription": {"model": "gpt-4o-transcribe-diarize"}}}}, "model"),
        ({"audio": {"input": {"transcription": {"language": "de"}}}}, "language"),
        ({"audio": {"input": {"transcription": {"languages": ["de", "en"]}}}}, "languages"),
        ({"audio": {"input": {"transcription": {"delay": "low"}}}}, "delay"),
        ({"audio": {"input": {"transcription": {"prompt": 1}}}}, "prompt"),
        ({"audio": {"input": {"transcription": {"prompt": "half a pair: \ud800"}}}}, "prompt"),
        ({"audio": {"input": {"transcription": {"prompt": "\1" * 16_000}}}}, "prompt"),
        (
            {"audio": {"input": {"transcription": {"keywords": ["half a pair: \ud800"]}}}},
            "keywords",
        ),
        ({"audio": {"input": {"transcription": {"keywords": ["x" * 101]}}}}, "keywords"),
    ],
)
def test_what_is_not_done_is_refused_by_name(session: Any, param: str) -> None:  # noqa: ANN401
    if param:
        with pytest.raises(BadEvent) as refused:
            updated(Config("en"), session)
        assert refused.value.param is not None and refused.value.param.endswith(param)
    else:
        assert updated(Config("en"), session) == Config("en")


# --- what clients send


def test_audio_is_taken() -> None:
    client = Client()
    assert client.send("input_audio_buffer.append", audio=base64.b64encode(b"abc").decode()) == []
    assert client.deed == Append(b"abc")


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({}, "missing_type"),
        ({"type": "response.create"}, "unknown_event"),
        ({"type": "input_audio_buffer.append"}, "invalid_type"),
        ({"type": "input_audio_buffer.append", "audio": "?"}, "invalid_value"),
        ({"type": "input_audio_buffer.append", "audio": "", "x": 1}, "unknown_parameter"),
        ({"type": "input_audio_buffer.commit", "x": 1}, "unknown_parameter"),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty"),
        ({"type": "session.update"}, "invalid_type"),
        ({"type": "session.update", "session": {}, "x": 1}, "unknown_parameter"),
    ],
)
def test_what_is_wrong_is_said_of_the_event(event: Event, code: str) -> None:
    events, deed = Client().core.event(json.dumps({**event, "event_id": "mine"}))
    (told,) = checked(events)
    assert told["type"] == "error" and deed is None
    assert (told["error"]["code"], told["error"]["event_id"]) == (code, "mine")


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "3", "[" * 100_000])
def test_what_is_no_event_is_said(text: str) -> None:
    events, deed = Client().core.event(text)
    (told,) = checked(events)
    assert told["error"]["code"] == "invalid_json" and deed is None


# --- utterances that are detected


def test_an_utterance() -> None:
    client = Client(5000)
    first = client.hear(Silence(**span(0, 100)), partial(100, 900, "I am here", stable=2))
    assert kinds(first) == ["speech_started", "delta"]
    assert first[0]["audio_start_ms"] == 100 and said(first) == "I am"
    rest = client.hear(final(100, 1500, "I am here now."))
    assert kinds(rest) == [
        "delta",
        "speech_stopped",
        "committed",
        "added",
        "created",
        "done",
        "completed",
    ]
    assert said(first) + said(rest) == "I am here now." == transcripts(rest)[0]
    assert rest[1]["audio_end_ms"] == 1500 and rest[-1]["usage"]["seconds"] == 1.4
    items = {e.get("item_id") or e["item"]["id"] for e in first + rest}
    assert len(items) == 1


def test_items_are_chained() -> None:
    client = Client(5000)
    first = client.hear(final(0, 1000, "One."))
    second = client.hear(Silence(**span(1000, 2000)), final(2000, 3000, "Two."))
    committed = [e for e in first + second if e["type"].endswith(".committed")]
    assert committed[0]["previous_item_id"] is None
    assert committed[1]["previous_item_id"] == committed[0]["item_id"]


def test_silence_is_nothing() -> None:
    client = Client(5000)
    assert client.hear(Silence(**span(0, 5000))) == []
    assert client.core.spoken.complete


def test_words_that_were_none_are_an_empty_item() -> None:
    client = Client(5000)
    client.hear(partial(0, 900, "Uh"))
    events = client.hear(Silence(**span(0, 1500)))
    assert kinds(events)[0] == "speech_stopped" and transcripts(events) == [""]


def test_speech_that_is_not_recognised_has_failed() -> None:
    client = Client(5000)
    client.hear(partial(0, 900, "Uh"))
    event = client.hear(Gap(**span(0, 1500), reason="repetition"))[-1]
    assert event["type"].endswith(".failed") and event["error"]["code"] == "repetition"
    assert client.hear(Gap(**span(1500, 1800), reason="no-audio")) == []
    assert client.hear(Gap(**span(1800, 2000), reason="no-speech")) == []
    events = client.hear(Gap(**span(2000, 3000), reason="recognition-failed"))
    assert kinds(events)[0] == "speech_started" and kinds(events)[-1] == "failed"


def test_only_words_before_which_all_are_stable_are_told() -> None:
    client = Client(5000)
    unsure = partial(0, 900, "I am here", stable=3)
    words = (unsure.words[0], unsure.words[1].model_copy(update={"stable": False}), unsure.words[2])
    assert said(client.hear(unsure.model_copy(update={"words": words}))) == "I"
    assert said(client.hear(partial(0, 950, "I am here", stable=1, revision=1))) == ""
    assert said(client.hear(partial(0, 990, "I am here", stable=3, revision=2))) == " am here"


def test_logprobs_are_asked_for() -> None:
    client = Client(5000)
    client.send("session.update", session={"include": ["item.input_audio_transcription.logprobs"]})
    events = client.hear(final(0, 1000, "Yes."))
    for event in (events[1], events[-1]):
        (word,) = event["logprobs"]
        assert bytes(word["bytes"]).decode() == word["token"] == "Yes."
        assert math.isclose(word["logprob"], math.log(0.5), abs_tol=1e-4)


# --- items that the client commits


def test_a_commit_makes_an_item_of_all_that_was_said() -> None:
    client = Client(3000, turn_detection=None)
    before = client.hear(final(0, 1000, "One."), Silence(**span(1000, 1500)))
    assert kinds(before) == ["delta"]
    events = client.commit()
    assert kinds(events) == ["committed", "added", "created", "done"] and client.deed == Cut()
    rest = client.hear(partial(1500, 2900, "Two", stable=1), final(1500, 3000, "Two."))
    assert transcripts(rest) == ["One. Two."] and rest[-1]["usage"]["seconds"] == 3.0
    assert said(before + rest) == "One. Two"  # what was told stays as it was
    assert events[0]["item_id"] == rest[-1]["item_id"] == before[0]["item_id"]


def test_a_commit_of_what_is_final_is_completed_at_once() -> None:
    client = Client(1000, turn_detection=None)
    client.hear(final(0, 1000, "One."))
    assert kinds(client.commit())[-1] == "completed"
    (event,) = client.commit()
    assert event["error"]["code"] == "input_audio_buffer_commit_empty"


def test_commits_wait_for_their_own_words() -> None:
    client = Client(1000, turn_detection=None)
    first = client.commit()[0]["item_id"]
    client.core.begin(T0 + 1280)
    client.core.take(1000)
    second = client.commit()[0]["item_id"]
    events = client.hear(
        final(0, 1000, "One."),
        Gap(**span(1000, 1260), reason="no-audio"),
        Silence(**span(1260, 1280)),
        final(1280, 2280, "Two."),
    )
    done = [(e["item_id"], e["transcript"]) for e in events if e["type"].endswith(".completed")]
    assert done == [(first, "One."), (second, "Two.")]


def test_silence_that_is_committed_is_empty() -> None:
    client = Client(1000, turn_detection=None)
    client.commit()
    assert transcripts(client.hear(Silence(**span(0, 1000)))) == [""]


def test_what_is_cleared_is_not_told() -> None:
    client = Client(1000, turn_detection=None)
    client.hear(partial(0, 900, "No", stable=1))
    assert kinds(client.send("input_audio_buffer.clear")) == ["cleared"]
    assert client.deed == Cut()
    client.core.begin(T0 + 1280)
    client.core.take(1000)
    client.commit()
    assert client.hear(final(0, 1000, "No.")) == []
    events = client.hear(final(1280, 2280, "Yes."))
    assert transcripts(events) == ["Yes."] and events[-1]["usage"]["seconds"] == 1.0


def test_an_utterance_may_be_committed_before_it_has_ended() -> None:
    client = Client(1000)
    started = client.hear(partial(0, 900, "I", stable=1))[0]
    committed = client.commit()[0]
    assert committed["item_id"] == started["item_id"]
    assert kinds(client.hear(final(0, 1000, "I am."))) == ["delta", "completed"]


def test_what_was_said_is_not_lost_when_detection_is_switched_on() -> None:
    client = Client(5000, turn_detection=None)
    client.hear(final(0, 1000, "One."), Silence(**span(1000, 2000)))
    events = client.update(turn_detection={"type": "server_vad"})
    assert transcripts(events) == ["One."]
    assert transcripts(client.hear(final(2000, 3000, "Two."))) == ["Two."]
