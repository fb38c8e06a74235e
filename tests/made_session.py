"""A session as a worker would tell of it: the demo's call with made scores, for tests of what is
read afterwards. Words and times are those of its script; scores follow from a few of the words.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from streams.courses import Course
from streams.events import JSON_TYPE, Event, EventType
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    Evidence,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    PartialWord,
    Result,
    Sentiment,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)

CALL = Path(__file__).parents[1] / "demo" / "call"
START = 1_760_000_000_000
WINDOW = 5000
BAD = ("annoyed", "wrong", "broken", "terrible", "disappointed", "sorry", "mistake", "not right")
GOOD = (
    "thank",
    "good",
    "kind",
    "loves",
    "lovely",
    "great",
    "wonderful",
    "happy",
    "welcome",
    "help",
)
SEEN = {
    "cup.jpg": (("espresso", 0.61), ("cup", 0.22), ("coffee mug", 0.09)),
    "cat.jpg": (("tabby cat", 0.52), ("tiger cat", 0.27), ("Egyptian cat", 0.13)),
    "astronaut.jpg": (("suit", 0.31), ("mask", 0.12), ("parachute", 0.08)),
}
FACES = {
    "astronaut.jpg": Face(
        x=0.35, y=0.14, width=0.19, height=0.19, confidence=0.98,
        expression=(Label(name="joy", probability=0.91), Label(name="neutral", probability=0.06)),
    ),
    "cat.jpg": Face(x=0.3, y=0.2, width=0.35, height=0.5, confidence=0.21),
}  # fmt: skip


@dataclass
class MadeSession:
    """Its results, and the events of what was typed and shown."""

    results: list[Result] = field(default_factory=list)
    passing: list[Result] = field(default_factory=list)
    texts: list[Event] = field(default_factory=list)
    images: list[Event] = field(default_factory=list)

    def of(self, topic: str) -> list[Event]:
        """What is on an output topic, as it would come, with what was passing."""
        found = [*self.passing, *self.results]
        mine = [each for each in found if (topic == "sentiment") == _is_sentiment(each)]
        return [result_event(each, source="test") for each in mine]


def _is_sentiment(result: Result) -> bool:
    return isinstance(result, SentimentWindow | SentimentSession)


def made_session(session: str = "call-1", *, ended: bool = True) -> MadeSession:
    """The demo's call. Two gaps are made: one of audio that never came, one of speech that was not
    recognised."""
    script = json.loads((CALL / "script.json").read_text())
    made = MadeSession()
    captions = [_caption(session, each) for each in script["utterances"]]
    made.texts = [_text(session, i, each) for i, each in enumerate(script["messages"])]
    made.images = [_image(session, i, each) for i, each in enumerate(script["images"])]
    seen = [
        _seen(event, each["file"])
        for event, each in zip(made.images, script["images"], strict=True)
    ]
    gaps = [
        Gap(
            session=session,
            channel="agent",
            start=START + 46_000,
            end=START + 47_900,
            reason="repetition",
        ),
        Gap(
            session=session,
            channel="customer",
            start=START + 60_000,
            end=START + 61_600,
            reason="no-audio",
        ),
    ]
    captions = [each for each in captions if not any(_overlap(each, gap) for gap in gaps)]
    windows = list(_windows(session, captions, made.texts, seen))
    made.results = [*captions, *gaps, *_silence(captions, gaps), *seen, *windows]
    made.results += _matches(session, captions, seen)
    made.passing = [*_partials(captions[:3]), *(_provisional(each) for each in windows[:4])]
    made.passing.append(windows[0].model_copy(update={"score": -0.99, "revision": 0}))
    made.results.remove(windows[0])
    made.results.append(windows[0].model_copy(update={"revision": 1}))
    if ended:
        made.results.append(_summary(session, windows))
    return made


def _overlap(one: CaptionFinal | Gap, other: CaptionFinal | Gap) -> bool:
    return one.channel == other.channel and one.start < other.end and other.start < one.end


def _caption(session: str, said: dict[str, Any]) -> CaptionFinal:
    start, end = (START + round(said[key] * 1000) for key in ("start", "end"))
    words = said["text"].split()
    pace = (end - start) / len(words)
    return CaptionFinal(
        session=session, channel=said["channel"], start=start, end=end, text=said["text"],
        language="en", revision=0, model="whisper-tiny.en@a1b2c3d4e5f6", no_speech_probability=0.01,
        words=tuple(
            Word(
                text=word,
                start=round(start + i * pace),
                end=round(start + (i + 1) * pace),
                probability=0.31 if word.strip(".,?!") in {"handle", "fee", "annoyed"} else 0.97,
            )
            for i, word in enumerate(words)
        ),
    )  # fmt: skip


def _text(session: str, number: int, message: dict[str, Any]) -> Event:
    value = {key: message[key] for key in ("text", "speaker", "kind")}
    return Event(
        type=EventType.TEXT_MESSAGE, id=f"{session}/text/{number}", source="test", session=session,
        time=START + round(message["at"] * 1000), channel=message["speaker"],
        content_type=JSON_TYPE, data=json.dumps(value).encode(),
    )  # fmt: skip


def _image(session: str, number: int, image: dict[str, Any]) -> Event:
    return Event(
        type=EventType.IMAGE_FRAME, id=f"{session}/images/{number}", source="test", session=session,
        time=START + round(image["at"] * 1000), channel=image["speaker"],
        content_type="image/jpeg", data=(CALL / image["file"]).read_bytes(),
    )  # fmt: skip


def _seen(event: Event, file: str) -> ImageRecognized:
    labels = tuple(Label(name=name, probability=p) for name, p in SEEN[file])
    faces = (FACES[file],) if file in FACES else ()
    return ImageRecognized(
        session=event.session, channel=event.channel, time=event.time, image=event.id,
        labels=labels, faces=faces, model="efficientnet-lite0@0.1.0",
    )  # fmt: skip


def _silence(captions: list[CaptionFinal], gaps: list[Gap]) -> Iterator[Silence]:
    """What is left of each channel."""
    end = START + 71_000
    for channel in ("agent", "customer"):
        at = START
        spans = sorted(each.span() for each in (*captions, *gaps) if each.channel == channel)
        for start, stop in [*spans, (end, end)]:
            if start > at:
                yield Silence(session=captions[0].session, channel=channel, start=at, end=start)
            at = max(at, stop)


def _windows(
    session: str, captions: list[CaptionFinal], texts: list[Event], seen: list[ImageRecognized]
) -> Iterator[SentimentWindow]:
    mood: dict[str, float] = {}
    for start in range(START - START % WINDOW, START + 71_000, WINDOW):
        inside = [each for each in captions if start <= each.end < start + WINDOW]
        typed = [each for each in texts if start <= each.time < start + WINDOW]
        shown = [each for each in seen if start <= each.time < start + WINDOW and each.faces]
        channels = sorted({*_channels(inside), *_channels(typed), *_channels(shown)})
        for channel in ["", *channels] if channels else []:
            mine = [each for each in inside if channel in ("", each.channel)]
            evidence = list(_evidence(channel, mine, typed, shown))
            written = (e.data.decode() for e in typed if channel in ("", e.channel))
            words = " ".join([*(e.text for e in mine), *written]).lower()
            window = _window(evidence, words, mood.get(channel, 0.0))
            mood[channel] = window.score
            span = {"start": start, "end": start + WINDOW}
            yield window.model_copy(update={"session": session, "channel": channel, **span})


def _channels(
    told: Iterable[CaptionFinal] | Iterable[Event] | Iterable[ImageRecognized],
) -> set[str]:
    return {each.channel for each in told}


def _evidence(
    channel: str, captions: list[CaptionFinal], typed: list[Event], shown: list[ImageRecognized]
) -> Iterator[Evidence]:
    for caption in captions:
        id_ = result_event(caption, source="").id
        for modality, weight in (("text", 0.3), ("voice", 0.18)):
            yield Evidence(
                id=id_, modality=modality, channel=caption.channel, start=caption.start,
                end=caption.end, weight=weight / len(captions),
            )  # fmt: skip
    for event in typed:
        if channel in ("", event.channel):
            yield Evidence(
                id=event.id, modality="text", channel=event.channel, start=event.time,
                end=event.time, weight=0.2,
            )  # fmt: skip
    for image in shown:
        if channel in ("", image.channel):
            yield Evidence(
                id=image.image, modality="face", channel=image.channel, start=image.time,
                end=image.time, weight=0.12,
            )  # fmt: skip


def _window(evidence: list[Evidence], words: str, before: float) -> SentimentWindow:
    """What is said of a window, whosever it is."""
    said = sum(word in words for word in GOOD) - 1.2 * sum(word in words for word in BAD)
    score = math.tanh(0.45 * said + 0.4 * before)
    shares = {
        name: sum(e.weight for e in evidence if e.modality == name)
        for name in ("text", "voice", "face")
    }
    shares = {name: share for name, share in shares.items() if share}
    weight = sum(shares.values())
    return SentimentWindow(
        session="", channel="", start=0, end=0, revision=0, final=True,
        score=score, deviation=0.14 + 0.2 * (1 - abs(score)),
        label=_label(score), confidence=0.55 + 0.4 * abs(score), emotions=_emotions(score),
        contributions={**shares, "context": 1 - weight}, evidence=tuple(evidence),
        model="fusion@9f3c2d71",
    )  # fmt: skip


def _label(score: float) -> Sentiment:
    return "negative" if score < -0.2 else "positive" if score > 0.2 else "neutral"


def _emotions(score: float) -> dict[str, float]:
    low, high = max(0.0, -score), max(0.0, score)
    parts = {
        "anger": 0.05 + 1.1 * low, "disgust": 0.03 + 0.25 * low, "fear": 0.02 + 0.08 * low,
        "joy": 0.05 + 1.6 * high, "neutral": 0.9 * (1 - abs(score)), "sadness": 0.05 + 0.5 * low,
        "surprise": 0.06 + 0.3 * high,
    }  # fmt: skip
    return {name: part / sum(parts.values()) for name, part in parts.items()}


def _matches(
    session: str, captions: list[CaptionFinal], seen: list[ImageRecognized]
) -> Iterator[Match]:
    for word, image, similarity in (
        ("red cup", 0, 0.41),
        ("cat on it", 1, 0.37),
        ("astronaut again", 2, 0.33),
    ):
        caption = next((each for each in captions if word in each.text), None)
        if caption:
            yield Match(
                session=session, time=max(caption.end, seen[image].time),
                left=result_event(caption, source="").id, right=seen[image].image,
                left_modality="text", right_modality="image", left_channel=caption.channel,
                right_channel=seen[image].channel, similarity=similarity, model="align@77aa01",
                probability=0.4 + similarity,
            )  # fmt: skip


def _partials(captions: Iterable[CaptionFinal]) -> Iterator[CaptionPartial]:
    for each in captions:
        data = each.model_dump(exclude={"words", "lost_ms", "biased_by"})
        words = tuple(PartialWord(**word.model_dump(), stable=True) for word in each.words[:3])
        yield CaptionPartial(**data | {"text": "not final"}, words=words)


def _provisional(window: SentimentWindow) -> SentimentWindow:
    return window.model_copy(update={"final": False, "revision": 3, "score": 0.99})


def _summary(session: str, windows: list[SentimentWindow]) -> SentimentSession:
    courses: dict[str, Course] = {}
    for each in windows:
        courses.setdefault(each.channel, Course()).add(each.start, each.end, each.score)
    channels = {name: course.summary(cast(Any, _label)) for name, course in sorted(courses.items())}
    start, end = windows[0].start, windows[-1].end
    return SentimentSession(session=session, start=start, end=end, channels=channels, captions=20)


def said(text: str, start: int = 0, *, channel: str = "agent") -> CaptionFinal:
    return CaptionFinal(
        session="s", channel=channel, start=START + start, end=START + start + 900, text=text,
        language="en", revision=0, model="m", no_speech_probability=0.0,
        words=tuple(
            Word(text=word, start=START + start, end=START + start + 900, probability=0.9)
            for word in text.split()
        ),
    )  # fmt: skip


def scored(start: int, score: float = 0.0, *, channel: str = "agent") -> SentimentWindow:
    return SentimentWindow(
        session="s", channel=channel, start=START + start, end=START + start + 5000, revision=0,
        final=True, score=score, deviation=0.1, label="neutral", confidence=0.5,
        emotions={"joy": 0.4, "anger": 0.6}, contributions={"text": 0.7, "context": 0.3},
        evidence=(), model="f",
    )  # fmt: skip


def pictured(number: int, time: int | None = None) -> ImageRecognized:
    return ImageRecognized(
        session="s", channel="a", time=START + (number if time is None else time),
        image=f"i{number}", labels=(), faces=(), model="m",
    )  # fmt: skip
