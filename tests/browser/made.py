"""Conversations that nobody had: results as Tenor would tell them, each with when it would come."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from streams.events import Event
from streams.results import (
    CaptionFinal,
    CaptionPartial,
    ChannelSentiment,
    Evidence,
    Face,
    Gap,
    ImageRecognized,
    Label,
    Match,
    PartialWord,
    Result,
    SentimentSession,
    SentimentWindow,
    Silence,
    Word,
    result_event,
)

LINES: Final = (
    "Good morning, and thank you for calling the photo gift shop. How can I help you?",
    "I am really annoyed. You sent me the wrong coffee cup, and it is broken too.",
    "I am very sorry to hear that. Can you tell me what happened?",
    "I ordered this red cup for my daughter, with a picture of an astronaut on it.",
    "But there is a cat on it, and the handle was broken off. This is terrible.",
    "That is not right at all. Could you send me your order number in the chat?",
    "I have just sent it. Her birthday is on Friday, and I am so disappointed.",
    "Thank you. I can see the order here, and I will have a new cup made today.",
    "Will it be here in time? I have been waiting for three weeks.",
    "It leaves our house tonight by express, and of course you pay nothing for it.",
    "Oh, that is wonderful. Thank you so much, you have really helped me.",
    "You are welcome. Is there anything else that I can do for you?",
    "No, that is all. Have a nice day.",
)
EMOTIONS: Final = ("anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral")
MODEL: Final = "fusion@made"
WINDOW_MS: Final = 5000
PER_WORD_MS: Final = 300
STEP_MS: Final = 600


class Coming(NamedTuple):
    """A result and when it comes (ms)."""

    at: int
    event: Event


@dataclass
class Call:
    """A call of two speakers from `start` on (ms) for so long, with chat and pictures."""

    session: str
    start: int
    seconds: int
    seed: int = 0
    drafts: bool = True
    pictures: Sequence[str] = ("cup", "cat", "astronaut")
    ended: bool = True
    _random: random.Random = field(init=False)
    _out: list[Coming] = field(default_factory=list)
    _finals: list[SentimentWindow] = field(default_factory=list)
    _evidence: defaultdict[int, list[Evidence]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def results(self) -> list[Coming]:
        """In the order in which they come."""
        end = self.start + self.seconds * 1000
        time, turn = self.start + 600, 0
        free = {"agent": self.start, "customer": self.start}
        while time < end - 3000:
            channel = ("agent", "customer")[turn % 2]
            time = self._say(channel, LINES[turn % len(LINES)], time, free)
            turn += 1
        for channel, since in free.items():
            self._add(end, Silence(session=self.session, channel=channel, start=since, end=end))
        self._judge(end)
        if self.ended:
            self._add(end + 4000, self._sum(end))
        return sorted(self._out, key=lambda each: each.at)

    def _add(self, at: int, result: Result) -> str:
        event = result_event(result, source="made")
        self._out.append(Coming(at, event))
        return event.id

    def _say(self, channel: str, text: str, time: int, free: dict[str, int]) -> int:
        """One utterance; returns when the next may begin."""
        words = list(self._words(text, time))
        end = words[-1].end + 200
        span = {"session": self.session, "channel": channel, "start": time}
        caption = {"language": "en", "model": "made", "no_speech_probability": 0.02}
        silence = {"session": self.session, "channel": channel, "start": free[channel]}
        self._add(time + 300, Silence(**silence, end=time))
        free[channel] = end
        if self._random.random() < 0.04:
            self._add(end + 600, Gap(**span, end=end, reason="repetition"))
            return end + 700
        for revision, heard in enumerate(range(time + STEP_MS, end, STEP_MS)):
            known = [word for word in words if word.end <= heard]
            if known and self.drafts:
                self._add(heard + 250, self._partial(known, revision, heard, {**span, **caption}))
        said = CaptionFinal(**span, end=end, text=text, words=tuple(words), revision=0, **caption)
        id_ = self._add(end + 550, said)
        for modality in ("text", "voice"):
            self._cite(id_, modality, channel, time, end)
        if channel == "customer" and self._random.random() < 0.12:
            self._show(channel, end - 400, id_)
        return end + self._random.randint(200, 1500)

    def _words(self, text: str, time: int) -> Iterator[Word]:
        for i, word in enumerate(text.split()):
            begin = time + i * PER_WORD_MS
            sure = min(0.99, max(0.2, self._random.betavariate(8, 1)))
            yield Word(text=word, start=begin, end=begin + PER_WORD_MS - 20, probability=sure)

    def _partial(
        self, words: Sequence[Word], revision: int, end: int, span: dict[str, object]
    ) -> CaptionPartial:
        shown = tuple(
            PartialWord(**word.model_dump(), stable=i < len(words) - 2)
            for i, word in enumerate(words)
        )
        text = " ".join(word.text for word in words)
        return CaptionPartial.model_validate(
            {**span, "end": end, "text": text, "words": shown, "revision": revision}
        )

    def _show(self, channel: str, time: int, caption: str) -> None:
        """A picture, and that it matches what was just said."""
        name = self._random.choice(self.pictures)
        image = f"{name}-{time}"
        happy = Label(name="sadness" if self._random.random() < 0.5 else "joy", probability=0.71)
        face = Face(x=0.36, y=0.1, width=0.2, height=0.28, confidence=0.93, expression=(happy,))
        labels = (Label(name=name, probability=0.62), Label(name="table", probability=0.2))
        shown = {"session": self.session, "channel": channel, "time": time, "image": image}
        faces = (face,) if name == "astronaut" else ()
        self._add(time + 400, ImageRecognized(**shown, labels=labels, faces=faces, model="made"))
        self._cite(image, "face" if faces else "image", channel, time, time)
        sides = {"left": caption, "right": image, "left_modality": "text"}
        match = {"right_modality": "image", "similarity": 0.31, "probability": 0.82}
        self._add(
            time + 1500,
            Match(session=self.session, time=time, **sides, **match, model="made"),
        )

    def _cite(self, id_: str, modality: str, channel: str, start: int, end: int) -> None:
        given = {"id": id_, "modality": modality, "channel": channel}
        cited = Evidence(**given, start=start, end=end, weight=0.0)
        self._evidence[end // WINDOW_MS * WINDOW_MS].append(cited)

    def _judge(self, end: int) -> None:
        first = self.start // WINDOW_MS * WINDOW_MS
        for start in range(first, end, WINDOW_MS):
            stop = start + WINDOW_MS
            for channel in ("customer", "agent", ""):
                if self.drafts:
                    for step in range(1, 5):
                        heard = start + step * 1000
                        self._add(heard + 500, self._window(channel, start, stop, step, heard))
                self._finals.append(self._window(channel, start, stop, 0, stop, final=True))
                self._add(stop + 900, self._finals[-1])

    def _window(
        self,
        channel: str,
        start: int,
        end: int,
        revision: int,
        heard: int,
        *,
        final: bool = False,
    ) -> SentimentWindow:
        found = [
            each
            for each in self._evidence[start]
            if each.end < heard and channel in ("", each.channel)
        ]
        score = self._score(channel, start) + self._random.gauss(0, 0.02 if final else 0.06)
        share = 0.75 / max(1, len(found))
        cited = tuple(each.model_copy(update={"weight": share}) for each in found)
        shares = {"text": 0.4, "voice": 0.27, "face": 0.08, "context": 0.25}
        if not cited:
            shares = {"text": 0.0, "voice": 0.0, "face": 0.0, "context": 1.0}
        score = max(-0.98, min(0.98, score))
        return SentimentWindow(
            session=self.session,
            channel=channel,
            start=start,
            end=end,
            revision=revision,
            final=final,
            score=score,
            deviation=0.22 + 0.04 * self._random.random() + (0 if cited else 0.12),
            label="negative" if score < -0.2 else "positive" if score > 0.2 else "neutral",
            confidence=0.5 + 0.4 * abs(score),
            emotions=self._emotions(score),
            contributions=shares,
            evidence=cited,
            model=MODEL,
        )

    def _score(self, channel: str, start: int) -> float:
        """The customer begins annoyed and is content at the end; the agent is even."""
        through = max(0.0, start - self.start) / (self.seconds * 1000)
        waves = 0.2 * math.sin(through * 19 + self.seed) + 0.1 * math.sin(through * 67)
        customer = -0.6 + 1.2 * math.pow(through, 1.5) + waves
        agent = 0.15 + 0.15 * math.sin(through * 23)
        return {"customer": customer, "agent": agent, "": (customer + agent) / 2}[channel]

    def _emotions(self, score: float) -> dict[str, float]:
        bad, good = max(0.0, -score), max(0.0, score)
        weights = (bad, 0.3 * bad, 0.25 * bad, good, 0.6 * bad, 0.12, 0.45)
        wild = [each * self._random.uniform(0.6, 1.4) + 0.01 for each in weights]
        return {name: each / sum(wild) for name, each in zip(EMOTIONS, wild, strict=True)}

    def _sum(self, end: int) -> SentimentSession:
        channels = {}
        for channel in ("customer", "agent", ""):
            scores = [each.score for each in self._finals if each.channel == channel]
            mean = sum(scores) / len(scores)
            trend = (scores[-1] - scores[0]) / max(1.0, self.seconds / 60)
            ends = {"first": scores[0], "last": scores[-1], "windows": len(scores)}
            channels[channel] = ChannelSentiment(score=mean, label="neutral", trend=trend, **ends)
        return SentimentSession(
            session=self.session, start=self.start, end=end, channels=channels, captions=None
        )
