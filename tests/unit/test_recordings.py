"""Audio files become chunks of their channels, whatever libsndfile reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from streams.media import SAMPLE_RATE, Limits, decode_audio
from streams.recordings import Recording, RecordingError


def tone(seconds: float, rate: int, hertz: float = 440) -> npt.NDArray[np.float64]:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def heard(recording: Recording, chunk_s: float, channel: str) -> npt.NDArray[np.int16]:
    """What an agent decodes, in one piece."""
    chunks = [m for m in recording.moments(chunk_s) if m.channel == channel]
    decoded = [np.ravel(decode_audio(m.content_type, m.data, Limits())) for m in chunks]
    return np.concatenate(decoded)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("chunk_s", [0.1, 1.0])
def test_no_rate_stretches_or_shortens_a_channel(tmp_path: Path, rate: int, chunk_s: float) -> None:
    soundfile.write(tmp_path / "a.wav", tone(10.03, rate), rate)
    recording = Recording.of(tmp_path / "a.wav")
    audio = heard(recording, chunk_s, "")
    assert recording.seconds == pytest.approx(10.03, abs=1e-4)
    assert len(audio) == pytest.approx(10.03 * SAMPLE_RATE, abs=2)
    late = slice(9 * SAMPLE_RATE, 10 * SAMPLE_RATE)  # in phase after nine seconds
    assert np.corrcoef(audio[late], tone(10.03, SAMPLE_RATE)[late])[0, 1] > 0.99


def test_tracks_are_channels_side_by_side(tmp_path: Path) -> None:
    both = np.stack([tone(0.5, 16_000), tone(0.5, 16_000, 220)], axis=1)
    soundfile.write(tmp_path / "call.flac", both, 16_000)
    recording = Recording.of(tmp_path / "call.flac")
    assert recording.channels == ("track-1", "track-2")
    assert [(m.start, m.at, m.channel) for m in recording.moments(0.3)] == [
        (0.0, 0.3, "track-1"),
        (0.0, 0.3, "track-2"),
        (0.3, 0.5, "track-1"),
        (0.3, 0.5, "track-2"),
    ]
    np.testing.assert_allclose(heard(recording, 0.3, "track-2") / 32768, both[:, 1], atol=1e-4)


def test_mono_is_the_mean_of_the_tracks(tmp_path: Path) -> None:
    both = np.stack([tone(0.5, 16_000), tone(0.5, 16_000, 220)], axis=1)
    soundfile.write(tmp_path / "call.flac", both, 16_000)
    recording = Recording.of(tmp_path / "call.flac", mono=True)
    assert recording.channels == ("",)
    np.testing.assert_allclose(recording.whole(), both.mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(heard(recording, 0.1, "") / 32768, both.mean(axis=1), atol=1e-4)


def test_files_of_floats_are_heard_and_clipped(tmp_path: Path) -> None:
    loud = np.array([0.5, 1.5, -1.5, np.nan] * 1000)
    soundfile.write(tmp_path / "a.wav", loud, 16_000, "FLOAT")
    assert heard(Recording.of(tmp_path / "a.wav"), 0.1, "")[:4].tolist() == [
        16384, 32767, -32768, 0
    ]  # fmt: skip


def test_a_coding_that_cannot_be_sought_in_is_read(tmp_path: Path) -> None:
    path = tmp_path / "adpcm.au"
    tone = 0.3 * np.sin(np.arange(8_000) / 20)
    soundfile.write(path, tone, 8_000, format="AU", subtype="G721_32")

    heard = Recording.of(path).whole()[: 2 * len(tone) : 2]

    assert np.corrcoef(heard[100:-100], tone[100:-100])[0, 1] > 0.99


def test_silence_follows_where_the_file_ends(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.25, 22_050), 22_050)
    moments = list(Recording.of(tmp_path / "a.wav").moments(0.1, silent_s=0.5))
    assert [m.start for m in moments[1:]] == [m.at for m in moments[:-1]]
    assert moments[-1].at == pytest.approx(0.75, abs=1e-4)
    assert not any(b"".join(m.data for m in moments if m.start >= 0.25))


def test_an_empty_file_has_no_chunks(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    assert list(Recording.of(tmp_path / "a.wav").moments(0.1)) == []


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    for name, why in (("notes.txt", "Format not recognised"), ("absent.wav", "No such file")):
        with pytest.raises(RecordingError, match=f"{name}: {why}"):
            Recording.of(tmp_path / name)


def test_a_file_that_goes_away_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.5, 16_000), 16_000)
    recording = Recording.of(tmp_path / "a.wav")
    (tmp_path / "a.wav").unlink()
    with pytest.raises(RecordingError, match="cannot read"):
        list(recording.moments(0.1))
