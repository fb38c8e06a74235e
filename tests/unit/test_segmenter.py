"""Utterances in plain examples, with the default rules: a second is 31.25 frames."""

from __future__ import annotations

import numpy as np

from streams.segmenter import FRAME, Pcm, Rules, Segment, Segmenter

RULES = Rules()


def segments_of(probabilities: list[float], audio: Pcm | None = None) -> list[Segment]:
    """Each frame sounds the same whenever it is heard; the last frames are flushed."""
    segmenter = Segmenter(RULES)
    segmenter.push(np.zeros(len(probabilities) * FRAME, np.int16) if audio is None else audio)
    segments = []
    while len(unscored := segmenter.unscored()):
        heard = probabilities[-len(unscored) // FRAME :]
        if segment := segmenter.step(np.array(heard, np.float32)):
            segments.append(segment)
    return segments + segmenter.flush()


def in_frames(segments: list[Segment]) -> list[tuple[str, float, float]]:
    return [(each.kind, each.start / FRAME, each.end / FRAME) for each in segments]


def test_speech_is_cut_out_with_a_little_before_and_after_it() -> None:
    heard = in_frames(segments_of([0.0] * 50 + [0.9] * 40 + [0.0] * 30 + [0.9] * 10 + [0.0] * 20))
    assert heard == [
        ("silence", 0, 50 - RULES.lead),
        ("speech", 42, 90 + RULES.tail),
        ("silence", 96, 120 - RULES.lead),
        ("speech", 112, 130 + RULES.tail),
        ("silence", 136, 150),
    ]


def test_a_short_pause_does_not_end_an_utterance() -> None:
    pause = [0.0] * (RULES.pause - 1)
    heard = in_frames(segments_of([0.9] * 20 + pause + [0.9] * 20 + [0.0] * 20))
    assert heard[0] == ("speech", 0, 20 + len(pause) + 20 + RULES.tail)


def test_a_click_is_no_utterance() -> None:
    heard = segments_of([0.0] * 50 + [0.9] * (RULES.shortest - 1) + [0.0] * 60)
    assert {each.kind for each in heard} == {"silence"}


def test_a_click_in_a_long_hum_is_no_utterance() -> None:
    between = (RULES.onset + RULES.offset) / 2
    heard = segments_of([0.9] + [between] * (RULES.longest + 20))
    assert {each.kind for each in heard} == {"silence"}


def test_an_unsure_frame_goes_on_with_speech_but_does_not_begin_it() -> None:
    between = (RULES.onset + RULES.offset) / 2
    assert in_frames(segments_of([between] * 20)) == [("silence", 0, 20)]
    heard = in_frames(segments_of([0.9] * 10 + [between] * 20 + [0.0] * 20))
    assert heard[0] == ("speech", 0, 30 + RULES.tail)


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    frames = RULES.longest + 100
    audio = np.full(frames * FRAME, 5000, np.int16)
    audio[100 * FRAME : 103 * FRAME] = 0  # too early to cut there
    audio[400 * FRAME : 403 * FRAME] = 50
    heard = segments_of([0.9] * frames, audio)
    assert in_frames(heard) == [("speech", 0, 401), ("speech", 401, frames)]
    assert np.array_equal(np.concatenate([each.audio for each in heard]), audio)


def test_long_silence_is_told_piece_by_piece() -> None:
    heard = in_frames(segments_of([0.0] * (2 * RULES.silence + 5)))
    assert heard == [
        ("silence", 0, RULES.silence),
        ("silence", RULES.silence, 2 * RULES.silence),
        ("silence", 2 * RULES.silence, 2 * RULES.silence + 5),
    ]


def test_flush_gives_what_is_left_to_the_last_sample() -> None:
    segmenter = Segmenter(RULES)
    segmenter.push(np.ones(10 * FRAME + 7, np.int16))
    assert segmenter.step(np.full(10, 0.9, np.float32)) is None
    (segment,) = segmenter.flush()
    assert (segment.kind, segment.end) == ("speech", 10 * FRAME + 7)
    assert segmenter.flush() == []
    assert segmenter.start == segmenter.position == 10 * FRAME + 7


def test_complete_follows_speech_and_stays_behind_what_was_heard() -> None:
    segmenter = Segmenter(RULES)
    segmenter.push(np.ones(100 * FRAME, np.int16))
    segmenter.step(np.full(10, 0.9, np.float32))
    assert segmenter.complete == 10 * FRAME  # flushed now, it would end here
    segmenter.step(np.zeros(RULES.pause - 1, np.float32))
    assert segmenter.complete == (10 + RULES.tail) * FRAME
    assert segmenter.step(np.zeros(1, np.float32)) is not None
    assert segmenter.complete == segmenter.start == (10 + RULES.tail) * FRAME


def test_what_may_be_heard_anew_is_not_complete_yet() -> None:
    """One clear frame and a hum: more speech cuts before it, and the fresh detector may differ."""
    between = (RULES.onset + RULES.offset) / 2
    segmenter = Segmenter(RULES)
    segmenter.push(np.ones(300 * FRAME, np.int16))
    assert segmenter.step(np.array([0.0] * 50 + [0.9] + [between] * 60, np.float32)) is None
    complete = segmenter.complete
    assert segmenter.step(np.full(2, 0.9, np.float32)) is not None
    speech = segmenter.step(np.array([0.9] * 3 + [0.0] * RULES.pause, np.float32))
    assert speech is not None
    assert speech.kind == "speech"
    assert complete <= speech.end == (50 - RULES.lead + 3 + RULES.tail) * FRAME


def test_in_a_long_utterance_a_breath_ends_it() -> None:
    breath = [0.0] * RULES.breath
    long = RULES.long - RULES.breath
    early = segments_of([0.9] * (long - 1) + breath + [0.9] * 9)
    assert [each.end // FRAME for each in early] == [long - 1 + len(breath) + 9]
    late = segments_of([0.9] * long + breath + [0.9] * 9)
    assert [each.end // FRAME for each in late] == [long + RULES.tail, long + len(breath) + 9]


def test_the_candidate_is_where_the_utterance_ends_if_the_pause_goes_on() -> None:
    segmenter = Segmenter(RULES)
    segmenter.push(np.arange(60 * FRAME).astype(np.int16))
    segmenter.step(np.array([0.9] * 20 + [0.0] * (RULES.tail - 1), np.float32))
    assert segmenter.speaking
    too_early = segmenter.candidate
    assert too_early is None
    segmenter.step(np.zeros(1, np.float32))
    candidate = segmenter.candidate
    assert candidate == (20 + RULES.tail) * FRAME
    heard = segmenter.heard(candidate)
    segment = segmenter.step(np.zeros(RULES.pause, np.float32))
    assert segment is not None
    assert segment.end == candidate
    assert np.array_equal(heard, segment.audio)
    assert segmenter.candidate is None
    assert np.array_equal(segmenter.heard(), np.arange(candidate, 60 * FRAME).astype(np.int16))


def test_there_is_no_candidate_while_nobody_speaks_or_once_they_go_on() -> None:
    segmenter = Segmenter(RULES)
    segmenter.push(np.ones(60 * FRAME, np.int16))
    segmenter.step(np.zeros(20, np.float32))
    assert segmenter.candidate is None
    segmenter = Segmenter(RULES)
    segmenter.push(np.ones(60 * FRAME, np.int16))
    segmenter.step(np.array([0.9] * 9 + [0.0] * RULES.tail + [0.9], np.float32))
    assert segmenter.candidate is None


def test_a_segment_that_does_not_begin_at_0_knows_where_it_is() -> None:
    segmenter = Segmenter(RULES, start=1600)
    segmenter.push(np.arange(30 * FRAME).astype(np.int16))
    segmenter.step(np.array([0.9] * 20 + [0.0] * RULES.tail, np.float32))
    assert segmenter.candidate == 1600 + (20 + RULES.tail) * FRAME
    assert len(segmenter.heard(segmenter.candidate)) == (20 + RULES.tail) * FRAME


def test_silence_is_forgotten_but_for_what_an_utterance_may_begin_with() -> None:
    segmenter = Segmenter(RULES)
    audio = np.arange(140 * FRAME).astype(np.int16)
    for frame in audio[: 130 * FRAME].reshape(-1, FRAME):
        segmenter.push(frame)
        segmenter.step(np.zeros(1, np.float32))
        assert len(segmenter.heard()) <= (RULES.pause + 2 * RULES.lead + 1) * FRAME
    assert segmenter.position == 130 * FRAME
    segmenter.push(audio[130 * FRAME :])
    silence = segmenter.step(np.full(10, 0.9, np.float32))
    assert silence is not None
    assert silence.end == (130 - RULES.lead) * FRAME
    assert np.array_equal(segmenter.heard(), audio[silence.end :])
