"""Conversations of a corpus through the fusion model, as it serves: window by window, in order.

An utterance is a window, and its speaker a track. Conversations go side by side, which changes no
result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from models.base import Floats
from models.fusion import NOTHING, FusionModel, Item, Opinion, Track, Window
from models.train.corpora import Sample

Vectors = Mapping[str, Mapping[str, Floats]]
"""By modality and by the sample's id, where there are any."""


@dataclass(slots=True)
class Conversation:
    """What is remembered of everybody and of each speaker."""

    everybody: Track = NOTHING
    speakers: dict[str, Track] = field(default_factory=dict[str, Track])

    def windows(self, sample: Sample, items: Sequence[Item]) -> list[Window]:
        """That of everybody, and after it that of the speaker, where one is named."""
        everybody = Window(items, sample.end, self.everybody, self.everybody)
        if not sample.speaker:
            return [everybody]
        own = self.speakers.get(sample.speaker, NOTHING)
        return [everybody, replace(everybody, own=own)]

    def remember(self, sample: Sample, opinions: Sequence[Opinion | None]) -> Opinion | None:
        """Takes what was said of `windows`; what was said of the speaker is the answer."""
        first, last = opinions[0], opinions[-1]
        if first and last:
            self.everybody = first.track
            self.speakers[sample.speaker] = last.track
        return last


def opinions(
    model: FusionModel,
    samples: Sequence[Sample],
    vectors: Vectors,
    pattern: Collection[str] | None = None,
) -> list[Opinion | None]:
    """What the model says of each sample in the order of its session; None where there is nothing
    to judge. With a `pattern`, only these modalities are there."""
    answers: list[Opinion | None] = [None] * len(samples)
    conversations: dict[str, Conversation] = {}
    for turn in _turns(samples):
        talks = [conversations.setdefault(samples[n].session, Conversation()) for n in turn]
        asked = [
            talk.windows(samples[n], _items(model, samples[n], vectors, pattern))
            for n, talk in zip(turn, talks, strict=True)
        ]
        said = iter(model.judge([window for windows in asked for window in windows]))
        for n, talk, windows in zip(turn, talks, asked, strict=True):
            answers[n] = talk.remember(samples[n], [next(said) for _ in windows])
    return answers


def _turns(samples: Sequence[Sample]) -> Iterator[list[int]]:
    """The samples' numbers: the first of every session, then the second, and so on."""
    sessions: dict[str, list[int]] = {}
    for n, sample in enumerate(samples):
        sessions.setdefault(sample.session, []).append(n)
    turn = 0
    while sessions:
        yield [numbers[turn] for numbers in sessions.values()]
        turn += 1
        sessions = {name: numbers for name, numbers in sessions.items() if len(numbers) > turn}


def _items(
    model: FusionModel, sample: Sample, vectors: Vectors, pattern: Collection[str] | None
) -> list[Item]:
    return [
        Item(sample.id, modality, vector, encoder.id, encoder.revision, sample.end - sample.start)
        for modality, encoder in model.encoders.items()
        if pattern is None or modality in pattern
        if (vector := vectors.get(modality, {}).get(sample.id)) is not None
    ]
