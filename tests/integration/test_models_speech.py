"""Whisper and voice activity on the speech of the demo call."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile
import torch
import torchaudio.functional

from models import registry
from models.base import SAMPLE_RATE, Floats, ModelError, SpeechRecognizer, Transcript, Utterance
from models.vad import FRAME, SHAPES, Network, SileroVad
from models.whisper_ct2 import CTranslate2Whisper
from models.whisper_torch import TorchWhisper

CALL = Path(__file__).parents[2] / "demo" / "call"
SPEECH = Path(__file__).parents[3] / "shared" / "data" / "speech"


@pytest.fixture(scope="module")
def channels() -> dict[str, Floats]:
    if not (CALL / "script.json").exists():
        pytest.skip("the demo call is absent")
    return {path.stem: _audio(path) for path in CALL.glob("*.wav")}


@pytest.fixture(scope="module")
def spoken(channels: dict[str, Floats]) -> list[tuple[str, Floats]]:
    """The text and the audio of the call's first utterances, of different lengths."""
    script = json.loads((CALL / "script.json").read_text(encoding="utf-8"))
    return [
        (said["text"], channels[said["channel"]][_span(said["start"], said["end"])])
        for said in script["utterances"][:8]
    ]


@pytest.fixture(scope="module")
def recognizer() -> SpeechRecognizer:
    return registry.load_speech()


@pytest.fixture(scope="module")
def mixed(spoken: list[tuple[str, Floats]]) -> list[Utterance]:
    """Utterances with prompts of no, few and many tokens; different ones of one length, too."""
    prompts = ("", "coffee cup", "gift shop", "", "Order, Kowalski", "and so on " * 100)
    said = zip(spoken, prompts, strict=False)
    return [Utterance(audio, prompt) for (_, audio), prompt in said]


@pytest.fixture(scope="module")
def multilingual() -> SpeechRecognizer:
    return registry.load_speech(registry.SPEECH_MULTILINGUAL)


@pytest.fixture(scope="module")
def clips(spoken: list[tuple[str, Floats]]) -> dict[str, Floats]:
    """A recording in each of six languages."""
    if not (SPEECH / "manifest.tsv").exists():
        pytest.skip("the recordings are absent: ../shared/data/speech")
    with (SPEECH / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        rows = [
            row for row in csv.DictReader(file, delimiter="\t") if row["split"].endswith("lingual")
        ]
    foreign = {row["kind"].split("/")[1]: _audio(SPEECH / row["file"]) for row in rows}
    return {"en": spoken[0][1], **foreign}


@pytest.fixture(scope="module")
def reference() -> TorchWhisper:
    return TorchWhisper.of(registry.resolve(registry.SPEECH_ENGLISH), "reference", device="cpu")


@pytest.fixture(scope="module")
def vad() -> Iterator[SileroVad]:
    yield SileroVad.load(registry.resolve(registry.VOICE_ACTIVITY))


def _audio(path: Path) -> Floats:
    samples, rate = soundfile.read(path, dtype="float32")
    resampled: Floats = torchaudio.functional.resample(
        torch.from_numpy(samples), rate, SAMPLE_RATE
    ).numpy()
    return resampled


def _said(transcript: Transcript) -> tuple[object, ...]:
    """All that must be the same in any batch; the rest is averages."""
    return transcript.text, transcript.words, transcript.language


def _span(start: float, end: float) -> slice:
    return slice(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE))


def _plain(text: str) -> str:
    return "".join(c for c in text.lower() if c.isalnum() or c in " '")


def test_the_demo_call_is_understood(
    recognizer: SpeechRecognizer, spoken: list[tuple[str, Floats]]
) -> None:
    heard = recognizer.transcribe([Utterance(audio) for _, audio in spoken])
    said = [_plain(text) for text, _ in spoken]
    assert jiwer.wer(said, [_plain(transcript.text) for transcript in heard]) < 0.2
    assert all(transcript.language == "en" for transcript in heard)
    assert all(transcript.no_speech_probability < 0.5 for transcript in heard)


def test_words_lie_in_order_in_their_utterance(
    recognizer: SpeechRecognizer, spoken: list[tuple[str, Floats]]
) -> None:
    for _, audio in spoken:
        [transcript] = recognizer.transcribe([Utterance(audio)])
        assert " ".join(word.text for word in transcript.words) == transcript.text
        times = [time for word in transcript.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert times[0] >= 0 and times[-1] <= len(audio) / SAMPLE_RATE + 0.01
        assert all(0 < word.probability <= 1 for word in transcript.words)


def test_a_prompt_says_how_to_write_what_is_heard(
    recognizer: SpeechRecognizer, spoken: list[tuple[str, Floats]]
) -> None:
    prompts = ("", "PhotoGift.")
    plain, prompted = recognizer.transcribe([Utterance(spoken[0][1], prompt) for prompt in prompts])
    assert "photo gift shop" in plain.text
    assert "PhotoGift" in prompted.text


def test_a_transcript_does_not_depend_on_its_batch(
    recognizer: SpeechRecognizer, mixed: list[Utterance]
) -> None:
    assert recognizer.bucket(mixed[1]) == recognizer.bucket(mixed[2])
    together = recognizer.transcribe(mixed)
    for utterance, in_batch in zip(mixed, together, strict=True):
        [alone] = recognizer.transcribe([utterance])
        assert _said(alone) == _said(in_batch)


def test_several_threads_may_call_at_once(
    recognizer: SpeechRecognizer, mixed: list[Utterance]
) -> None:
    parallel = registry.load_speech(threads=1, workers=2)
    halves = [mixed[::2], mixed[1::2]] * 2
    with ThreadPoolExecutor(len(halves)) as threads:
        heard = list(threads.map(parallel.transcribe, halves))
    for half, transcripts in zip(halves, heard, strict=True):
        assert [_said(t) for t in transcripts] == [_said(t) for t in recognizer.transcribe(half)]


def test_both_backends_agree_in_float32(reference: TorchWhisper, mixed: list[Utterance]) -> None:
    folder = registry.resolve(registry.SPEECH_ENGLISH)
    same_arithmetic = CTranslate2Whisper(folder, "float32", compute_type="float32")
    assert [same_arithmetic.bucket(u) for u in mixed] == [reference.bucket(u) for u in mixed]
    pairs = zip(same_arithmetic.transcribe(mixed), reference.transcribe(mixed), strict=True)
    for ours, theirs in pairs:
        assert ours.text == theirs.text
        assert [w.text for w in ours.words] == [w.text for w in theirs.words]
        for mine, other in zip(ours.words, theirs.words, strict=True):
            assert mine.start == pytest.approx(other.start, abs=0.04)
            assert mine.probability == pytest.approx(other.probability, abs=0.01)
        for figure in ("average_log_probability", "no_speech_probability", "compression_ratio"):
            assert getattr(ours, figure) == pytest.approx(getattr(theirs, figure), abs=1e-3)
    assert same_arithmetic.model.partition("@")[2] == reference.model.partition("@")[2] != ""


def test_int8_hears_nearly_what_float32_hears(
    recognizer: SpeechRecognizer, reference: TorchWhisper, spoken: list[tuple[str, Floats]]
) -> None:
    utterances = [Utterance(audio) for _, audio in spoken]
    quantised, exact = (r.transcribe(utterances) for r in (recognizer, reference))
    said, heard = ([_plain(t.text) for t in each] for each in (exact, quantised))
    assert jiwer.wer(said, heard) < 0.1


def test_the_multilingual_model_detects_the_language(
    multilingual: SpeechRecognizer, spoken: list[tuple[str, Floats]]
) -> None:
    [transcript] = multilingual.transcribe([Utterance(spoken[0][1])])
    assert transcript.language == "en"
    assert jiwer.wer(_plain(spoken[0][0]), _plain(transcript.text)) < 0.2


def test_languages_mix_in_a_batch(multilingual: SpeechRecognizer, clips: dict[str, Floats]) -> None:
    prompts = ("", "Rom, Asia", "")
    utterances = [Utterance(a, p) for a, p in zip(clips.values(), prompts * 2, strict=True)]
    together = multilingual.transcribe(utterances)
    assert [transcript.language for transcript in together] == list(clips)
    for utterance, in_batch in zip(utterances, together, strict=True):
        [alone] = multilingual.transcribe([utterance])
        assert _said(alone) == _said(in_batch)


def test_an_english_model_refuses_another_language() -> None:
    with pytest.raises(ModelError, match="only English"):
        registry.load_speech(language="de")


def test_the_network_is_the_published_one(channels: dict[str, Floats]) -> None:
    """The package's own network, with its weights: they are not those of its safetensors file."""
    package = find_spec("silero_vad")
    assert package is not None and package.submodule_search_locations
    file = Path(package.submodule_search_locations[0]) / "data" / "silero_vad.jit"
    published = torch.jit.load(file)  # type: ignore[no-untyped-call]
    theirs = [t.numpy() for n, t in published.state_dict().items() if n.startswith("_model.")]
    vad = SileroVad(Network(dict(zip(SHAPES, theirs, strict=True))))

    audio = channels["agent"][: 300 * FRAME]
    _, [probabilities] = vad.step([vad.initial()], [audio])
    with torch.inference_mode():
        frames = torch.from_numpy(audio).view(-1, FRAME)
        expected = [published(frame[None], SAMPLE_RATE).item() for frame in frames]
    assert max(expected) > 0.9 and min(expected) < 0.1
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)
    assert ((probabilities > 0.5) == (np.array(expected) > 0.5)).all()


def test_speech_is_where_the_script_says(vad: SileroVad, channels: dict[str, Floats]) -> None:
    script = json.loads((CALL / "script.json").read_text(encoding="utf-8"))
    for name, audio in channels.items():
        count = len(audio) // FRAME
        said = np.zeros(len(audio), bool)
        for utterance in script["utterances"]:
            if utterance["channel"] == name:
                said[_span(utterance["start"], utterance["end"])] = True
        truth = said[: count * FRAME].reshape(count, FRAME).mean(axis=1) > 0.5
        _, [probabilities] = vad.step([vad.initial()], [audio[: count * FRAME]])
        assert np.mean((probabilities > 0.5) == truth) > 0.85


def test_streams_do_not_depend_on_batch_or_pieces(
    vad: SileroVad, channels: dict[str, Floats]
) -> None:
    audio = channels["agent"]
    streams = [audio[i * 5000 :][: count * FRAME] for i, count in enumerate((40, 1, 0, 97, 8))]
    states, together = vad.step([vad.initial() for _ in streams], streams)
    for stream, state, expected in zip(streams, states, together, strict=True):
        alone, pieces = vad.initial(), [np.zeros(0, np.float32)]
        for first in range(0, len(stream), 3 * FRAME):
            [alone], [piece] = vad.step([alone], [stream[first : first + 3 * FRAME]])
            pieces.append(piece)
        np.testing.assert_allclose(np.concatenate(pieces), expected, atol=1e-7)
        np.testing.assert_allclose(alone, state, atol=1e-5)


def test_a_broken_frame_is_refused(vad: SileroVad) -> None:
    with pytest.raises(ValueError, match="whole number"):
        vad.step([vad.initial()], [np.zeros(FRAME + 1, np.float32)])


def test_other_weights_are_not_taken_for_voice_activity() -> None:
    with pytest.raises(ModelError, match="not Silero"):
        registry.load_vad(f"{registry.TEXT}/model/model.safetensors")
