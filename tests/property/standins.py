"""What stands in for the models and the typed texts in tests of agents, and the agents that hear
and join.

The models are functions of what they are given: of the same audio they hear the same.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from models.base import Encoder, Floats, Transcript, Utterance, Word
from streams.agents.audio import Activity, AudioAgent, Hearing
from streams.agents.base import Agent, Means
from streams.agents.join import JoinAgent, Judgement, Question
from streams.agents.speech import Recognition
from streams.batching import Batcher
from streams.context import Context, Text
from streams.metrics import Metrics
from streams.scheduling import DecodeScheduler
from streams.segmenter import FRAME

T0: Final = 1_700_000_000_000
"""Event time (ms) at which every test's conversation begins."""
VOICE: Final = Encoder("voice-of-tests", "1", 3)
TEXT: Final = Encoder("text-of-tests", "1", 3)
_DEVICE: Final = ThreadPoolExecutor(1, "models-of-tests")
TEXTS: Final = tuple(
    Text(stamp, T0 + 500 * (stamp - 8), f"text-{stamp}", "note", (f"Term{stamp}",))
    for stamp in range(0, 24, 2)
)
"""What is typed in every session; the log of a test is stamped by its offsets."""
DEAF: Final = np.zeros(2, np.float32)


class Models:
    """The models of one process: functions behind batchers, on one thread. `read` says up to which
    stamp the log of texts was read."""

    def __init__(self, metrics: Metrics, read: Callable[[], int] = lambda: TEXTS[-1].stamp) -> None:
        self.read = read
        self._metrics = metrics
        self._made: list[Batcher[Any, Any] | DecodeScheduler] = []

    def batcher(self, name: str, run: Callable[[Any], Any]) -> Batcher[Any, Any]:
        batcher: Batcher[Any, Any] = Batcher(
            name, lambda items: [run(item) for item in items], _DEVICE, wait_s=0.0
        )
        self._made.append(batcher)
        return batcher

    def decoder(self, run: Callable[[Utterance], Transcript]) -> DecodeScheduler:
        scheduler = DecodeScheduler(
            lambda items: [run(item) for item in items],
            lambda utterance: utterance.prompt,
            _DEVICE,
            workers=1,
            largest=4,
            wait_s=0.0,
            metrics=self._metrics,
            partial_s=0.3,
        )
        self._made.append(scheduler)
        return scheduler

    async def close(self) -> None:
        for each in self._made:
            await each.close()


class Typed:
    """The texts that were read by now: no fewer than the audio that was handed over must know, and
    after a crash those that came later, too."""

    def __init__(self, read: Callable[[], int]) -> None:
        self._read = read

    async def assign(self, partition: int) -> None: ...

    async def revoke(self, partitions: Collection[int]) -> None: ...

    async def context(self, partition: int, session: str) -> Context:
        await asyncio.sleep(0)
        return Context(text for text in TEXTS if text.stamp <= self._read())

    async def forget(self, partition: int, session: str) -> None: ...


def listening(means: Means, models: Models) -> Agent:
    """The audio agent, with ears that are a function of the audio."""
    recognition = Recognition(
        decoder=models.decoder(_recognize),
        voice=models.batcher("voice", _voice),
        model="speech-of-tests@1",
        voice_encoder=VOICE,
    )
    hearing = Hearing(models.batcher("vad", _activity), DEAF, recognition, Typed(models.read))
    return AudioAgent(means, hearing)


def _activity(item: Activity) -> Activity:
    """Loudness with a memory of a second, and a mood that depends on how long it has listened: it
    hears something else if it is not told when to start afresh."""
    state, audio = item
    level, count = map(float, state)
    heard = []
    for frame in audio.reshape(-1, FRAME):
        loudness = min(1.0, 8 * float(np.abs(frame).mean()))
        level, count = 0.9 * level + 0.1 * loudness, count + 1
        heard.append(0.35 * loudness + 0.5 * level + (0.2 if count % 5 == 0 else 0.0))
    return np.array([level, count], np.float32), np.array(heard, np.float32)


def _recognize(utterance: Utterance) -> Transcript:
    """Says a name of the audio. Of 8 utterances one is poison, one distrusted, one of no words."""
    name = hashlib.sha1(
        utterance.audio.tobytes() + utterance.prompt.encode(), usedforsecurity=False
    )
    chance = name.digest()[0] % 8
    if chance == 0:
        raise ValueError("poison")
    return Transcript(
        text="" if chance == 1 else name.hexdigest(),
        words=tuple(
            Word(f"{letter}{place}", place / 10, place / 10 + 0.1, 0.9)
            for place, letter in enumerate(name.hexdigest()[: len(utterance.audio) // 1600])
        ),
        language="en",
        no_speech_probability=0.0,
        average_log_probability=0.0,
        compression_ratio=3.0 if chance == 2 else 1.0,
    )


def _voice(audio: Floats) -> Floats:
    """Of one utterance in 8 it knows nothing."""
    if hashlib.sha1(audio.tobytes(), usedforsecurity=False).digest()[1] % 8 == 0:
        raise ValueError("poison")
    return np.array([len(audio), np.abs(audio).mean(), audio[0]], np.float32)


@dataclass(frozen=True)
class Heard:
    """What is remembered: a digest of all that was judged before."""

    digest: str

    def state(self) -> dict[str, Any]:
        return {"digest": self.digest}


@dataclass(frozen=True)
class View:
    """An opinion."""

    score: float
    evidence: tuple[tuple[str, float], ...]
    label: str = "neutral"
    deviation: float = 0.5
    confidence: float = 0.5
    emotions: dict[str, float] = field(default_factory=dict)
    contributions: dict[str, float] = field(default_factory=dict)
    track: Heard = Heard("")


def joining(means: Means, models: Models) -> Agent:
    """The join agent, with an opinion that is a function of the features and of those before."""
    judgement = Judgement(
        judge=models.batcher("fusion", _judge),
        label=lambda score: "positive" if score > 0 else "negative",
        encoders={"voice": VOICE, "text": TEXT},
        model="fusion-of-tests",
    )
    return JoinAgent(means, judgement)


def _judge(question: Question) -> View | None:
    """A function of the features, and of all that the channel and everybody heard before."""
    features = question.features
    names = sorted((f"{f.modality}{f.evidence}", place) for place, f in enumerate(features))
    if not names:
        return None
    if any(feature.evidence == "poison" for feature in features):
        raise ValueError("poison")
    about = [[n for n, _ in names], question.own, question.session, question.end]
    digest = hashlib.sha1(json.dumps(about).encode(), usedforsecurity=False)
    evidence = tuple((str(place), 1 / len(names)) for _, place in names)
    return View(digest.digest()[0] / 255 * 2 - 1, evidence, track=Heard(digest.hexdigest()))
