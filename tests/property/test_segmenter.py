"""The segmenter under every division of a channel into chunks, and under restarts at every cut."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.segmenter import FRAME, Floats, Pcm, Rules, Segment, Segmenter

SMALL = Rules(
    shortest=2, pause=4, long=9, breath=2, lead=3, tail=2, longest=20, search=8, silence=12
)
"""Proportioned like the defaults, so that a few seconds of audio meet every rule."""


@dataclass
class Smooth:
    """Hears loudness with a memory; like the real detector, it starts afresh after every cut."""

    level: float = 0.0

    def __call__(self, frames: Pcm) -> Floats:
        heard = []
        for frame in frames.reshape(-1, FRAME):
            loudness = min(1.0, float(np.abs(frame.astype(np.int32)).mean()) / 8000)
            self.level = 0.6 * self.level + 0.4 * loudness
            heard.append(self.level)
        return np.array(heard, np.float32)


@dataclass
class Moody:
    """The worst case: a frame may sound quite different after a cut that is elsewhere."""

    count: int = 0

    def __call__(self, frames: Pcm) -> Floats:
        heard = []
        for frame in frames.reshape(-1, FRAME):
            chance = zlib.crc32(frame.tobytes() + bytes([self.count % 7])) / 2**32
            heard.append(chance if np.abs(frame.astype(np.int32)).mean() > 1000 else chance / 3)
            self.count += 1
        return np.array(heard, np.float32)


Detector = Callable[[Pcm], Floats]
NewDetector = Callable[[], Detector]


@dataclass
class Listening:
    """What a caller does: pushes chunks, scores what is unscored, starts afresh after a cut."""

    new_detector: NewDetector
    segmenter: Segmenter
    segments: list[Segment] = field(default_factory=list)
    promises: list[tuple[int, int]] = field(default_factory=list)
    """(how many segments had been cut, `complete`), after each chunk."""

    def hear(self, chunks: Iterable[Pcm]) -> list[Segment]:
        detector = self.new_detector()
        for chunk in chunks:
            self.segmenter.push(chunk)
            while len(frames := self.segmenter.unscored()):
                if segment := self.segmenter.step(detector(frames)):
                    self.segments.append(segment)
                    detector = self.new_detector()
            self.promises.append((len(self.segments), self.segmenter.complete))
        self.segments += self.segmenter.flush()
        return self.segments


def listen(audio: Pcm, rules: Rules, detector: NewDetector, cuts: Iterable[int] = ()) -> Listening:
    listening = Listening(detector, Segmenter(rules))
    listening.hear(np.split(audio, sorted(cuts)))
    return listening


def spans(segments: Iterable[Segment]) -> list[tuple[str, int, int, bytes]]:
    return [(each.kind, each.start, each.end, each.audio.tobytes()) for each in segments]


@st.composite
def recordings(draw: st.DrawFn) -> Pcm:
    """Noise whose loudness changes from piece to piece, some pieces of no whole frames."""
    pieces = draw(
        st.lists(
            st.tuples(st.sampled_from([0, 60, 3000, 6000, 9000, 20000]), st.integers(1, 6000)),
            max_size=14,
        )
    )
    noise = np.random.default_rng(draw(st.integers(0, 99)))
    parts = [noise.integers(-top, top + 1, length) for top, length in pieces]
    return np.concatenate([np.zeros(0), *parts]).astype(np.int16)


detectors = st.sampled_from([Smooth, Moody])
rule_sets = st.sampled_from(
    [SMALL, Rules(shortest=3, pause=2, lead=0, tail=1, longest=9, search=4, silence=5)]
)


def cuts_of(data: st.DataObject, audio: Pcm) -> list[int]:
    return data.draw(st.lists(st.integers(0, len(audio)), max_size=8), label="chunk ends")


@settings(max_examples=300)
@given(recordings(), rule_sets, detectors, st.data())
def test_chunks_do_not_matter(
    audio: Pcm, rules: Rules, detector: NewDetector, data: st.DataObject
) -> None:
    whole = listen(audio, rules, detector)
    parts = listen(audio, rules, detector, cuts_of(data, audio))
    frames = listen(audio, rules, detector, range(0, len(audio), FRAME))
    assert spans(whole.segments) == spans(parts.segments) == spans(frames.segments)


@settings(max_examples=300)
@given(recordings(), rule_sets, detectors)
def test_every_sample_is_in_one_segment(audio: Pcm, rules: Rules, detector: NewDetector) -> None:
    segments = listen(audio, rules, detector).segments
    ends = [0, *(segment.end for segment in segments)]
    assert [segment.start for segment in segments] == ends[:-1]
    assert ends[-1] == len(audio)
    for segment in segments:
        assert segment.start < segment.end <= segment.start + rules.longest * FRAME
        speech = audio[segment.start : segment.end] if segment.kind == "speech" else audio[:0]
        assert np.array_equal(segment.audio, speech)


@settings(max_examples=300)
@given(recordings(), rule_sets, detectors)
def test_no_speech_ends_before_what_was_complete(
    audio: Pcm, rules: Rules, detector: NewDetector
) -> None:
    for step in (len(audio) + 1, FRAME):
        listening = listen(audio, rules, detector, range(0, len(audio), step))
        for cut_before, complete in listening.promises:
            assert complete <= len(audio)
            later = listening.segments[cut_before:]
            assert all(each.end >= complete for each in later if each.kind == "speech")


@settings(max_examples=200)
@given(recordings(), rule_sets, detectors, st.data())
def test_a_restart_at_any_cut_hears_the_same(
    audio: Pcm, rules: Rules, detector: NewDetector, data: st.DataObject
) -> None:
    segments = listen(audio, rules, detector).segments
    for place, segment in enumerate(segments):
        rest = audio[segment.start :]
        again = Listening(detector, Segmenter(rules, start=segment.start))
        again.hear(np.split(rest, sorted(cuts_of(data, rest)) if place < 3 else []))
        assert spans(again.segments) == spans(segments[place:])
