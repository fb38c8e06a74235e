"""Captions of files and their measurement, with the real models, on the demo call: no Kafka."""

from __future__ import annotations

import json
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import whisper
from click.testing import CliRunner, Result

from models import registry
from models.base import SAMPLE_RATE, Floats
from models.normalizer import normalize_english
from models.offline import OfflineWhisper
from models.whisper_torch import load
from streams.cli import main
from streams.recordings import Recording

CALL = Path(__file__).parents[2] / "demo" / "call"
LATENCIES = ("stable_latency_s", "final_latency_s")


def tenor(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(each) for each in arguments])


def words(text: str) -> str:
    return normalize_english(text)


@pytest.fixture(scope="module")
def script() -> list[dict[str, str]]:
    if not (CALL / "script.json").exists():
        pytest.skip("the demo call is absent")
    said: list[dict[str, str]] = json.loads((CALL / "script.json").read_text())["utterances"]
    return said


def reference(script: list[dict[str, str]], channel: str) -> str:
    return " ".join(each["text"] for each in script if each["channel"] == channel)


@pytest.fixture(scope="module")
def manifest(script: list[dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent of the call up to its third utterance, on two tracks, and a clip in German."""
    folder = tmp_path_factory.mktemp("clips")
    samples, rate = soundfile.read(CALL / "agent.wav")
    mine = [each for each in script if each["channel"] == "agent"]
    until = round(float(mine[2]["start"]) * rate)
    soundfile.write(folder / "agent.wav", np.stack([samples[:until]] * 2, axis=1), rate)
    soundfile.write(folder / "pause.wav", np.zeros(rate), rate)
    rows = [
        ("file", "kind", "split", "reference"),
        ("agent.wav", "read", "dev", " ".join(each["text"] for each in mine[:2])),
        ("pause.wav", "read/de", "dev-multilingual", "Guten Tag"),
    ]
    (folder / "manifest.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    return folder / "manifest.tsv"


def test_files_are_transcribed_and_what_is_none_stops_no_other(
    script: list[dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    files = [CALL / "agent.wav", tmp_path / "notes.txt", CALL / "customer.wav", Path("absent.wav")]
    done = tenor("transcribe", *files, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "notes.txt" in done.stderr and "absent.wav" in done.stderr
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == [
        "agent.txt", "customer.txt"
    ]  # fmt: skip
    for channel in ("agent", "customer"):
        text = (tmp_path / "out" / f"{channel}.txt").read_text()
        heard = " ".join(line.partition("] ")[2] for line in text.splitlines())
        assert jiwer.wer(words(reference(script, channel)), words(heard)) < 0.15


@pytest.mark.parametrize(("format_", "begins"), [("vtt", "WEBVTT"), ("srt", "1\n"), ("json", "{")])
def test_captions_of_tracks_go_to_standard_output(
    manifest: Path, format_: str, begins: str
) -> None:
    done = tenor("transcribe", manifest.parent / "agent.wav", "--format", format_)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.startswith(begins)
    assert "morning" in done.stdout


def test_two_files_never_make_one(tmp_path: Path) -> None:
    done = tenor("transcribe", "a/call.wav", "b/call.wav", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_captions_are_measured(manifest: Path) -> None:
    done = tenor("eval", "captions", manifest, "--json")
    assert done.exit_code == 0, done.stderr
    assert "1 of 2 clips are skipped" in done.stderr
    figures = json.loads(done.stdout)
    recording = Recording.of(manifest.parent / "agent.wav")
    assert figures["clips"] == 1
    assert figures["audio_s"] == pytest.approx(recording.seconds, abs=0.01)
    assert figures["wer"] < 0.15 and figures["wer_offline"] < 0.15
    fed = 1000 * (recording.seconds + 1)
    assert figures["covered_ms"] + figures["gap_ms"] == pytest.approx(fed, abs=20)
    assert all(figures[name]["p50"] <= figures[name]["p95"] for name in LATENCIES)
    assert figures["final_latency_s"]["p50"] > 0.3  # the pause that ends an utterance
    assert 0 <= figures["erasure_stable"] <= figures["erasure_shown"]
    assert figures["compute_rtf"] > 0


@pytest.mark.parametrize("content", ["", "a\tb\n1\t2\n", "file\tkind\treference\nx.wav\ta\tb\n"])
def test_a_manifest_that_is_none_is_an_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.tsv").write_text(content)
    done = tenor("eval", "captions", tmp_path / "manifest.tsv")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: ")


def test_long_recordings_are_decoded_as_openai_whisper_does(script: list[dict[str, str]]) -> None:
    audio: Floats = Recording.of(CALL / "agent.wav").whole()[: 45 * SAMPLE_RATE]
    folder = registry.resolve(registry.SPEECH_ENGLISH)
    ours = OfflineWhisper(folder, compute_type="float32").transcribe(audio)
    model = load(folder)
    theirs = whisper.transcribe(model, audio, temperature=0.0, fp16=False, language="en")
    assert jiwer.wer(words(theirs["text"]), words(ours)) < 0.01
