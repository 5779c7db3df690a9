"""What people send: short songs, a long one, one that kills its decoder, one that is none."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from backend.settings import ROOT
from bench.chaos.worker import POISON
from bench.song import write_song

SAMPLES = ROOT / "data" / "sample"
RATE = 44_100


@dataclass(frozen=True, slots=True)
class Song:
    path: Path
    weight: float
    """How often it is sent, against the others."""
    poison: bool = False


def make(folder: Path, *, long_seconds: float) -> list[Song]:
    folder.mkdir()
    warmup = (SAMPLES / "warmup.mp3").read_bytes()
    poisoned = folder / "poison.mp3"
    poisoned.write_bytes(warmup + POISON)
    return [
        Song(_chords(folder / "chords.wav", 3.0, 2), 4),
        Song(_chords(folder / "mono.wav", 5.0, 1), 3),
        Song(write_song(folder / "music.mp3", 8.0), 3),
        Song(SAMPLES / "warmup.mp3", 3),
        Song(write_song(folder / "long.mp3", long_seconds), 1),
        Song(poisoned, 0.5, poison=True),
    ]


def garbage(rng: random.Random) -> bytes:
    return rng.randbytes(20_000)


def _chords(path: Path, seconds: float, channels: int) -> Path:
    rng = np.random.default_rng(channels)
    time = np.arange(int(seconds * RATE)) / RATE
    sound = 0.2 * np.sum([np.sin(2 * np.pi * pitch * time) for pitch in (220.0, 277.2, 329.6)], axis=0)
    samples = sound[:, None] + 0.02 * rng.standard_normal((len(time), channels))
    soundfile.write(path, samples.astype(np.float32), RATE, subtype="PCM_16")
    return path
