"""Spoken lines from espeak-ng, flite, festival and recordings, and what WORLD makes of them.

WORLD (M. Morise, F. Yokomori, K. Ozawa: "WORLD: a vocoder-based high-quality speech synthesis system for real-time
applications", IEICE Trans. E99-D(7), 2016) takes speech apart into pitch, spectral envelope and aperiodicity.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from training.synthesis import programs, spoken, words
from training.synthesis.sound import RATE, Mono, Random

FRAME_MS = 5.0
FFT = 1024
BINS = FFT // 2 + 1

ESPEAK_LANGUAGES = ("en", "en-us", "en-gb-scotland", "en-029", *words.OTHERS)
ESPEAK_VARIANTS = (
    *("", "+f1", "+f2", "+f3", "+f4", "+f5", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+m8"),
    *("+klatt", "+klatt2", "+klatt3", "+Andrea", "+Annie", "+Gene", "+Linda", "+Steph"),
)
RECORDED = 0.45
"""How often the line is spoken by somebody who was recorded."""
FLITE_VOICES = ("awb", "rms", "slt", "kal16")


@dataclass(frozen=True, slots=True)
class Parameters:
    """WORLD's view of a sound: every 5 ms, pitch (frames,) in Hz, 0 where unvoiced; power envelope and aperiodicity
    (frames, 513)."""

    pitch: Mono
    envelope: NDArray[np.float64]
    aperiodicity: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Speaker:
    program: str
    voice: str
    language: str
    speed: int
    height: int
    """espeak-ng's words a minute and pitch, 0 to 99."""


def draw_speaker(random: Random) -> Speaker:
    speed, height, kind = int(random.integers(110, 190)), int(random.integers(10, 80)), random.random()
    if random.random() < RECORDED:
        people = spoken.speakers()
        return Speaker("recording", people[int(random.integers(len(people)))], "", speed, height)
    if kind < 0.42:
        language = str(random.choice(ESPEAK_LANGUAGES))
        return Speaker("espeak-ng", language + str(random.choice(ESPEAK_VARIANTS)), language, speed, height)
    if kind < 0.68:
        return Speaker("flite", str(random.choice(FLITE_VOICES)), "en", speed, height)
    voices = list(programs.FESTIVAL_VOICES)
    voice = voices[int(random.integers(len(voices)))]
    return Speaker("text2wave", voice, programs.FESTIVAL_VOICES[voice][0], speed, height)


def speak(random: Random, speaker: Speaker, folder: Path) -> Parameters | None:
    """One line by that speaker; None when the program failed or said next to nothing."""
    if speaker.program == "recording":
        said = spoken.say(random, speaker.voice)
        return None if said is None else analyse(said[0] * 0.7, said[1], random)
    text = words.line(random, speaker.language, int(random.integers(6, 14)))
    written = folder / "speech.wav"
    written.unlink(missing_ok=True)
    try:
        _run(speaker, text, folder, written)
        sound, rate = soundfile.read(written, dtype="float64", always_2d=True)
    except (programs.ProgramFailed, soundfile.LibsndfileError):
        return None
    mono = sound.mean(1)
    if len(mono) < 0.6 * rate or not mono.any():
        return None
    mono = np.asarray(resample_poly(mono, RATE, rate), np.float64)
    return analyse(mono / np.abs(mono).max() * 0.7, rate, random)


def _run(speaker: Speaker, text: str, folder: Path, written: Path) -> None:
    match speaker.program:
        case "espeak-ng":
            options = ["-v", speaker.voice, "-s", str(speaker.speed), "-p", str(speaker.height)]
            programs.run(["espeak-ng", *options, "-w", written, text])
        case "flite":
            programs.run(["flite", "-voice", speaker.voice, "-t", text, "-o", written])
        case _:
            encoding = "utf-8" if speaker.language == "ca" else "latin-1"
            (folder / "line.txt").write_bytes(text.encode(encoding, "replace"))
            programs.run(["text2wave", "-eval", f"({speaker.voice})", folder / "line.txt", "-o", written])


def analyse(sound: Mono, source_rate: int, random: Random) -> Parameters:
    """Voices made at less than RATE get an upper band: their highest octave, mirrored up and falling."""
    import pyworld  # only voices need it

    sound = np.ascontiguousarray(sound)
    rough, times = pyworld.dio(sound, RATE, frame_period=FRAME_MS, f0_floor=60, f0_ceil=500)
    pitch = pyworld.stonemask(sound, rough, times, RATE)
    envelope = pyworld.cheaptrick(sound, pitch, times, RATE, fft_size=FFT)
    aperiodicity = pyworld.d4c(sound, pitch, times, RATE, fft_size=FFT)
    if source_rate < RATE:
        first = int(0.92 * source_rate / 2 / RATE * FFT)
        span = first - int(0.7 * first)
        above = np.arange(BINS - first)
        step = above % span
        mirrored = np.where(above // span % 2 == 0, first - 1 - step, first - span + step)
        fall = np.exp(-np.linspace(0, 1, len(above)) * random.uniform(0.3, 2.5))
        envelope[:, first:] = envelope[:, mirrored] * fall
        aperiodicity[:, first:] = np.clip(aperiodicity[:, mirrored] + 0.2, 0, 1)
    return Parameters(pitch, envelope, aperiodicity)
