"""The composition root: the models behind their batchers, and the agents that work with them."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from models import fusion, gpu, registry
from models.base import (
    SAMPLE_RATE,
    Face,
    Floats,
    ImageContent,
    Pixels,
    SpeechRecognizer,
    TextEncoder,
    Utterance,
)
from models.fusion import FusionModel, Item, Track
from streams import threads
from streams.agents.audio import Activity, AudioAgent, Hearing
from streams.agents.base import Agent, Means
from streams.agents.images import ImageAgent
from streams.agents.join import JoinAgent, Judgement, Question
from streams.agents.matching import MatchAgent, Space
from streams.agents.speech import Recognition
from streams.agents.text import Reader, TextAgent
from streams.batching import Batcher
from streams.features import Feature
from streams.metrics import Metrics
from streams.scheduling import DecodeScheduler
from streams.settings import Settings
from streams.texts import FixedTexts, Texts

T = TypeVar("T")
R = TypeVar("R")
M = TypeVar("M")

HUSH: Final = np.zeros(SAMPLE_RATE, np.float32)
BLACK: Final = np.zeros((64, 64, 3), np.uint8)
"""What every sound model has an answer to: its control (`streams.batching`)."""


@dataclass(slots=True)
class Workshop:
    """Loads models and puts each behind a batcher on the thread that owns its device.

    `device` runs what is heavy, `light` the small models that always run on the CPU, so that
    voice activity need not wait for a recognition that is under way, and `decoders` the recogniser
    where that runs on the CPU too; where not, the search for faces. All but `light` give way to the
    event loop, and so do the threads that their models make. `texts` are the typed texts of the
    sessions.
    """

    settings: Settings
    metrics: Metrics
    say: Callable[[str], None] = lambda text: None
    texts: Texts = field(default_factory=FixedTexts)
    device: ThreadPoolExecutor = field(
        default_factory=lambda: threads.executor(1, "device", gives_way=True)
    )
    light: ThreadPoolExecutor = field(default_factory=lambda: threads.executor(1, "light"))
    batchers: list[Batcher[Any, Any] | DecodeScheduler] = field(default_factory=list)
    decoders: ThreadPoolExecutor = field(init=False)
    _kind: str = field(init=False)

    def __post_init__(self) -> None:
        self._kind = registry.device(self.settings.device)
        registry.set_threads(self.settings.threads)
        for each in gpu.present() if self._kind == "cuda" else ():
            self.metrics.watch_gpu(each)
        self.decoders = threads.executor(self.settings.decoders, "decoder", gives_way=True)

    def agents(self, names: Collection[str], means: Means) -> list[Agent]:
        """The agents of these names, with their models loaded; blocks for seconds."""
        makers: dict[str, Callable[[Means], Agent]] = {
            "audio": self._audio,
            "text": self._text,
            "images": self._images,
            "join": self._join,
            "match": self._match,
        }
        return [makers[name](means) for name in makers if name in names]

    def close(self) -> None:
        self.device.shutdown(wait=False, cancel_futures=True)
        self.light.shutdown(wait=False, cancel_futures=True)
        self.decoders.shutdown(wait=False, cancel_futures=True)

    def _audio(self, means: Means) -> Agent:
        settings = self.settings
        detector = self._load("vad", lambda: registry.load_vad(settings.vad_model), light=True)
        speech = self._load(
            "speech",
            lambda: registry.load_speech(
                settings.speech_model,
                self._kind,
                language=None if settings.language == "auto" else settings.language,
                threads=settings.threads,
                workers=settings.decoders,
            ),
        )
        voice = self._load("voice", lambda: registry.load_voice(settings.voice_model, self._kind))

        def activity(batch: list[Activity]) -> list[Activity]:
            states, heard = detector.step([s for s, _ in batch], [a for _, a in batch])
            return list(zip(states, heard, strict=True))

        def voices(batch: list[Floats]) -> Sequence[Floats]:
            return list(voice.encode(batch))

        recognition = Recognition(
            decoder=self._scheduler(speech),
            # Not on `light`, where the voice activity of every session would wait for it.
            voice=self._batcher("voice", voices, self.device, wait_s=0.0, control=HUSH),
            model=speech.model,
            voice_encoder=voice.encoder,
        )
        deaf = detector.initial()
        a_frame = HUSH[: detector.frame]
        activity_ = self._batcher("vad", activity, self.light, wait_s=0.0, control=(deaf, a_frame))
        return AudioAgent(means, Hearing(activity_, deaf, recognition, self.texts))

    def _scheduler(self, speech: SpeechRecognizer) -> DecodeScheduler:
        settings, alone = self.settings, self._kind != "cpu"
        scheduler = DecodeScheduler(
            speech.transcribe,
            speech.bucket,
            self.device if alone else self.decoders,
            workers=1 if alone else settings.decoders,
            largest=settings.batch_size if alone else settings.decoder_batch,
            wait_s=settings.batch_wait_s if alone else 0.0,
            metrics=self.metrics,
            partial_s=settings.partial_ms / 1000,
            control=[Utterance(HUSH)],
        )
        self._warm(speech.transcribe, self.device, Utterance(HUSH))
        self.batchers.append(scheduler)
        return scheduler

    def _text(self, means: Means) -> Agent:
        settings = self.settings
        meaning = self._load("text", lambda: registry.load_text(settings.text_model, self._kind))
        affect = self._load(
            "affect", lambda: registry.load_affect(settings.affect_model, self._kind)
        )
        return TextAgent(means, self._reader("affect", affect), self._reader("text", meaning))

    def _reader(self, name: str, encoder: TextEncoder) -> Reader:
        def read(texts: list[str]) -> Sequence[Floats]:
            return list(encoder.encode(texts))

        batcher = self._batcher(name, self._apart(read), self.device, control="hello")
        return Reader(batcher, encoder.encoder)

    def _images(self, means: Means) -> Agent:
        settings = self.settings
        images = self._load(
            "image",
            lambda: registry.load_image(
                settings.image_model, self._kind, expression=settings.expression_model
            ),
        )
        finding = self._batcher(
            "faces",
            lambda batch: [images.find(image) for image in batch],
            self.device if self._kind == "cpu" else self.decoders,
            wait_s=0.0,
            control=BLACK,
        )
        nobody: tuple[Pixels, tuple[Face, ...]] = (BLACK, ())
        describing = self._batcher(
            "image", self._apart(images.describe), self.device, control=nobody
        )

        async def recognize(image: Pixels) -> ImageContent:
            return await describing.submit((image, await finding.submit(image)))

        return ImageAgent(means, recognize, images.encoder, images.face_encoder)

    def _join(self, means: Means) -> Agent:
        model = self._load(
            "fusion",
            lambda: FusionModel.load(registry.resolve(self.settings.fusion_model)),
            light=True,
        )

        def judge(questions: list[Question]) -> Sequence[fusion.Opinion | None]:
            return model.judge([_window(question) for question in questions])

        nothing = Question((), 0, None, None)
        judgement = Judgement(
            judge=self._batcher("fusion", judge, self.light, wait_s=0.0, control=nothing),
            label=model.label,
            encoders=dict(model.encoders),
            model=f"fusion@{model.revision}",
        )
        return JoinAgent(means, judgement)

    def _match(self, means: Means) -> Agent:
        settings = self.settings
        model = self._load(
            "align",
            lambda: registry.load_align(
                settings.align_model, text=settings.text_model, image=settings.image_model
            ),
            light=True,
        )

        def place(batch: list[tuple[str, Floats]]) -> Sequence[Floats]:
            return [model.project(side, vector[None])[0] for side, vector in batch]

        (side, encoder), *_ = model.encoders.items()
        nought = (side, np.zeros(encoder.dimension, np.float32))
        space = Space(
            place=self._batcher("align", place, self.light, wait_s=0.0, control=nought),
            encoders=model.encoders,
            threshold=model.threshold,
            probability=model.probability,
            model=f"align@{model.revision}",
        )
        return MatchAgent(means, space)

    def _apart(self, run: Callable[[list[T]], Sequence[R]]) -> Callable[[list[T]], Sequence[R]]:
        """On a CPU one after the other: in company an answer's last bits depend on the others."""
        if self._kind != "cpu":
            return run
        return lambda items: [run([item])[0] for item in items]

    def _load(self, name: str, load: Callable[[], M], *, light: bool = False) -> M:
        started = time.perf_counter()
        model = threads.in_thread(name, load, gives_way=not light)
        seconds = time.perf_counter() - started
        self.metrics.model_load.labels(name).set(seconds)
        self.say(f"model {name} loaded in {seconds:.1f} s")
        return model

    def _batcher(
        self,
        name: str,
        run: Callable[[list[T]], Sequence[R]],
        executor: ThreadPoolExecutor,
        *,
        control: T,
        wait_s: float | None = None,
        bucket: Callable[[T], Hashable] = lambda _: None,
    ) -> Batcher[T, R]:
        batcher: Batcher[T, R] = Batcher(
            name,
            run,
            executor,
            largest=self.settings.batch_size,
            wait_s=self.settings.batch_wait_s if wait_s is None else wait_s,
            bucket=bucket,
            observe=self.metrics.observe_batch,
            control=[control],
            failed=self.metrics.observe_failure,
        )
        self._warm(run, executor, control)
        self.batchers.append(batcher)
        return batcher

    def _warm(
        self, run: Callable[[list[T]], object], executor: ThreadPoolExecutor, control: T
    ) -> None:
        """A GPU's first call sets it up and loads kernels: before a session waits for it."""
        if self._kind != "cpu" and executor is self.device:
            executor.submit(run, [control]).result()


def _window(question: Question) -> fusion.Window:
    """As the fusion model knows it."""
    own, session = (
        Track.restore(memory) if memory else fusion.NOTHING
        for memory in (question.own, question.session)
    )
    return fusion.Window(_items(question.features), question.end / 1000, own, session)


def _items(features: Sequence[Feature]) -> list[Item]:
    """A window's features for the fusion model, by their place: what nobody said counts not."""
    return [
        Item(
            id=str(place),
            modality=feature.modality.value,
            vector=np.asarray(feature.vector, np.float32),
            encoder=feature.encoder,
            revision=feature.revision,
            seconds=(feature.end - feature.start) / 1000,
        )
        for place, feature in enumerate(features)
        if feature.kind not in ("note", "vocabulary")
    ]
