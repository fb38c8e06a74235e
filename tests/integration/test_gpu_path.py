"""The way of a GPU, walked on the CPU: there the device `cpu:0` is one that is not called `cpu`.

So torch's Whisper hears, one thread owns the device, batches go through as they are, and models are
warmed up. What only a GPU shows, its arithmetic and its speed, is for `tests.bench.gpu`.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from whisper.decoding import DecodingOptions, DecodingTask
from whisper.model import ModelDimensions
from whisper.timing import find_alignment

from models import registry
from models.base import Floats, ModelError, Transcript, Utterance
from models.normalizer import normalize_english
from models.text import PooledTextEncoder
from models.whisper import mel_frames, most_tokens, tokenizer_for
from models.whisper_torch import TorchWhisper
from models.whisper_words import Said, timed
from streams.agents.base import Agent, Means
from streams.agents.images import ImageAgent
from streams.agents.text import TextAgent
from streams.batching import Batcher
from streams.composition import Workshop
from streams.local import LocalOutbox, captioner
from streams.metrics import Metrics
from streams.recordings import Recording
from streams.replay import Moment
from streams.results import CaptionFinal
from streams.settings import Settings
from tests.bench import gpu as gpu_bench
from tests.bench.gpu import untrained
from tests.bench.talk import CHUNK, chunk_at

CALL = Path(__file__).parents[2] / "demo" / "call"
FOLDER = registry.resolve(registry.SPEECH_ENGLISH)


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    """The first three of the demo call's agent, and a second of silence."""
    if not (CALL / "script.json").exists():
        pytest.skip("the demo call is absent")
    script = json.loads((CALL / "script.json").read_text())["utterances"]
    audio: Floats = Recording.of(CALL / "agent.wav").whole()
    said = islice((each for each in script if each["channel"] == "agent"), 3)
    spans = [(round(16_000 * each["start"]), round(16_000 * each["end"])) for each in said]
    return [*(Utterance(audio[a:b]) for a, b in spans), Utterance(np.zeros(16_000, np.float32))]


@pytest.fixture(scope="module")
def whisper() -> TorchWhisper:
    return TorchWhisper.of(FOLDER, "whisper", device="cpu")


@pytest.fixture(scope="module")
def heard(whisper: TorchWhisper, utterances: list[Utterance]) -> list[Transcript]:
    return whisper.transcribe(utterances)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "device", lambda wanted: "cpu:0")


@asynccontextmanager
async def at_work(*names: str) -> AsyncIterator[tuple[Workshop, list[Agent]]]:
    """A workshop and its agents."""
    settings, metrics, outbox = Settings(), Metrics(), LocalOutbox()
    clock = asyncio.get_running_loop().time
    means = Means(settings, outbox, outbox, metrics, lambda error: None, clock, lambda: 0)
    workshop = Workshop(settings, metrics)
    try:
        yield workshop, await asyncio.to_thread(workshop.agents, names, means)
    finally:
        for batcher in workshop.batchers:
            await batcher.close()
        workshop.close()


# --- recognition


def test_words_of_a_batch_are_timed_as_openai_whisper_times_one(
    whisper: TorchWhisper, utterances: list[Utterance], heard: list[Transcript]
) -> None:
    network, tokenizer = whisper._model, tokenizer_for(whisper._vocabulary, "en")
    frames = [mel_frames(each.audio) for each in utterances]
    tokens = [*(tokenizer.encode(f" {each.text}") for each in heard[:-1]), []]
    with torch.inference_mode():
        encoded = whisper._encode(utterances, 12.0)
        said = [Said(tokenizer, t, n // 2) for t, n in zip(tokens, frames, strict=True)]
        together = timed(network, said, encoded)
        for words, own, one, n in zip(together, tokens, encoded, frames, strict=True):
            expected = find_alignment(network, tokenizer, own, one, n)
            assert [(w.word, w.tokens) for w in words] == [(w.word, w.tokens) for w in expected]
            for word, other in zip(words, expected, strict=True):
                assert (word.start, word.end) == (other.start, other.end)
                assert word.probability == pytest.approx(other.probability, abs=1e-4)
    assert sum(map(len, together)) > 20 and together[-1] == []


def test_float16_hears_what_float32_hears(
    utterances: list[Utterance], heard: list[Transcript]
) -> None:
    half = TorchWhisper.of(FOLDER, "half", device="cpu", half=True)
    assert half._model.decoder.token_embedding.weight.dtype is torch.float16
    for whole, halved in zip(heard[:2], half.transcribe(utterances[:2]), strict=True):
        assert whole.text == halved.text
        for word, other in zip(whole.words, halved.words, strict=True):
            assert word.start == pytest.approx(other.start, abs=0.1)
            assert word.probability == pytest.approx(other.probability, abs=0.02)


# --- the workshop


@pytest.mark.usefixtures("gpu")
async def test_captions_are_made(utterances: list[Utterance]) -> None:
    script = json.loads((CALL / "script.json").read_text())["utterances"]
    end = next(each["start"] for each in script[3:] if each["channel"] == "agent")
    said = [e["text"] for e in script if e["channel"] == "agent" and e["end"] <= end]
    audio = Recording.of(CALL / "agent.wav").whole()[: round(16_000 * end)]

    async def moments() -> AsyncIterator[Moment]:
        for number, chunk in enumerate(np.split(audio, range(CHUNK, len(audio), CHUNK))):
            yield chunk_at(number, np.rint(chunk * (2**15 - 1)).astype(np.int16))

    async with captioner(Settings(partial_ms=0)) as captions:
        results = [each.result async for each in captions.caption("call", moments())]
    heard = [each.text for each in results if isinstance(each, CaptionFinal)]
    assert jiwer.wer(normalize_english(" ".join(said)), normalize_english(" ".join(heard))) < 0.15


@pytest.mark.usefixtures("gpu")
async def test_pictures_and_texts_go_through_in_batches() -> None:
    calls = dict.fromkeys(("image", "faces", "text", "affect"), 0)
    files = sorted(CALL.glob("*.jpg"))
    pictures = [np.asarray(Image.open(file).convert("RGB")) for file in files] * 2
    texts = ["My brakes squeal.", "Thank you, that is very kind.", "It is late again"]
    async with at_work("text", "images") as (workshop, [reading, seeing]):
        assert isinstance(reading, TextAgent) and isinstance(seeing, ImageAgent)
        for batcher in workshop.batchers:
            assert isinstance(batcher, Batcher)
            batcher._run = counted(calls, batcher.name, batcher._run)
        seen = await asyncio.gather(*map(seeing.recognize, pictures))
        alone = [await seeing.recognize(picture) for picture in pictures[: len(files)]]
        for reader in reading.readers_of("message").values():
            vectors = await asyncio.gather(*map(reader.read.submit, texts))
            for text, vector in zip(texts, vectors, strict=True):
                np.testing.assert_allclose(await reader.read.submit(text), vector, atol=1e-4)
    for content, other in zip(seen, [*alone, *alone], strict=True):
        np.testing.assert_allclose(content.embedding, other.embedding, atol=1e-5)
        assert [face.x for face in content.faces] == [face.x for face in other.faces]
        for face, same in zip(content.faces, other.faces, strict=True):
            assert face.embedding is not None and same.embedding is not None
            np.testing.assert_allclose(face.embedding, same.embedding, atol=1e-3)
    assert any(content.faces for content in seen)
    assert calls["text"] == calls["affect"] == 1 + len(texts)  # together, and each alone
    assert calls["image"] < len(pictures) + len(files)


def counted(calls: dict[str, int], name: str, run: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`run`, which counts."""

    def counting(items: Any) -> Any:  # noqa: ANN401
        calls[name] += 1
        return run(items)

    return counting


@pytest.mark.usefixtures("gpu")
async def test_models_are_warmed_up_on_the_thread_that_owns_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heard: list[tuple[str, int]] = []
    encode = PooledTextEncoder.encode

    def noted(self: PooledTextEncoder, texts: Sequence[str]) -> Floats:
        heard.append((threading.current_thread().name, len(texts)))
        return encode(self, texts)

    monkeypatch.setattr(PooledTextEncoder, "encode", noted)
    async with at_work("text"):
        assert heard == [("device_0", 1)]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_that_says_so() -> None:
    assert registry.device("auto") == registry.device("cpu") == "cpu"
    with pytest.raises(ModelError, match="TENOR_DEVICE=cpu"):
        registry.device("cuda")


# --- the bench


def test_random_weights_speak_as_long_as_they_may(utterances: list[Utterance]) -> None:
    dims = ModelDimensions(80, 1500, 128, 2, 1, 51865, 448, 128, 2, 1)
    model = untrained(dims, "cpu")
    with torch.inference_mode():
        features = model._encode(utterances[:2], 12.0)
    options = DecodingOptions(
        language="en", without_timestamps=True, sample_len=most_tokens(12.0), fp16=False
    )
    decoded = DecodingTask(model._model, options).run(features)
    text = range(tokenizer_for(dims.n_vocab, "en").eot)
    kept = [sum(token in text for token in each.tokens) for each in decoded]
    assert kept == [len(each.tokens) for each in decoded] == [most_tokens(12.0)] * 2 == [112] * 2
    assert all(len(each.words) > 0 for each in model.transcribe(utterances[:2]))


def test_the_bench_runs_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for sizes in (gpu_bench.SIZES, gpu_bench.SPEECH_SIZES):
        monkeypatch.setitem(sizes, "cpu", (1, 2))
    monkeypatch.setattr(
        gpu_bench, "SMALL", ModelDimensions(80, 1500, 64, 1, 1, 51865, 448, 64, 1, 1)
    )
    only = "text,expression,voice,small"
    done = CliRunner().invoke(
        gpu_bench.main, ["--device", "cpu", "--seconds", "0", "--only", only, "--json"]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["device"], found["goals"]) == ("cpu", {})
    assert list(found["rates"]) == only.split(",")
    for part in found["rates"].values():
        assert set(part["sizes"]) == {"1", "2"}
        assert all(each["per_s"] > 0 for each in part["sizes"].values())
    assert found["rates"]["small"]["texts_equal"] == 1.0
    assert found["rates"]["text"]["max_difference"] < 1e-5
    assert CliRunner().invoke(gpu_bench.main, ["--only", "smell"]).exit_code == 2
