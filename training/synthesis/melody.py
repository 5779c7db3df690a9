"""Tunes: which notes, how long, and the song's key and chords that they fit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.synthesis.sound import SECONDS, Random

MAJOR = (0, 2, 4, 5, 7, 9, 11)
PENTATONIC = (0, 2, 4, 7, 9)
PROGRESSIONS = (
    *((0, 5, 3, 4), (0, 4, 5, 3), (5, 3, 0, 4), (0, 3, 4, 3), (1, 4, 0, 5), (0, 5, 1, 4)),
    *((5, 4, 3, 4), (0, 2, 3, 4), (3, 4, 5, 0), (0, 6, 5, 4), (5, 0, 3, 4), (0, 0, 3, 4)),
)
"""Degrees of the scale, a chord each."""


def draw_key(random: Random) -> int:
    """Mostly C: voices and accompaniments are made apart, and mixed they should often fit."""
    return 0 if random.random() < 0.8 else int(random.integers(12))


def scale(random: Random, key: int, low: int, high: int) -> NDArray[np.int64]:
    """MIDI notes of the key from `low` to `high`, all seven of an octave or five."""
    kept = PENTATONIC if random.random() < 0.6 else MAJOR
    return np.array([note for note in range(low, high + 1) if (note - key) % 12 in kept])


def tune(random: Random, notes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """A walk over the given notes, mostly by small steps, turned back at the ends."""
    steps = random.choice((-4, -3, -2, -1, -1, 0, 0, 1, 1, 2, 3, 4), count)
    place, walked = int(random.integers(len(notes))), []
    for step in steps:
        walked.append(notes[place])
        place = abs(place + int(step))
        place = max(0, min(place, 2 * len(notes) - 2 - place, len(notes) - 1))
    return np.array(walked)


class Song:
    """Key, tempo and chords of one accompaniment of SECONDS. Times are seconds, beats count from a bar's first."""

    def __init__(self, random: Random, slowest: float = 68, fastest: float = 165) -> None:
        self.random = random
        self.key = draw_key(random)
        self.beat = 60 / random.uniform(slowest, fastest)
        self.swing = random.uniform(0, 0.25) if random.random() < 0.25 else 0.0
        self.bars = int(np.ceil(SECONDS / self.beat / 4)) + 1
        progression = PROGRESSIONS[int(random.integers(len(PROGRESSIONS)))]
        each = int(random.choice([1, 1, 2]))
        self.chords = [progression[bar // each % len(progression)] for bar in range(self.bars)]
        self.sevenths = random.random() < 0.3
        self.inexact = random.uniform(0, 0.012)

    def note(self, degree: int, octave: int) -> int:
        return self.key + MAJOR[degree % 7] + 12 * (degree // 7) + 12 * octave

    def chord(self, bar: int, octave: int) -> list[int]:
        degrees = (0, 2, 4, 6) if self.sevenths else (0, 2, 4)
        return [self.note(self.chords[bar] + degree, octave) for degree in degrees]

    def time(self, bar: int, beat: float) -> float:
        """Of a beat in a bar, as a player would hit it."""
        if self.swing and abs((beat * 2) % 2 - 1) < 1e-6:
            beat += self.swing * 0.3
        return float(max(0.0, (bar * 4 + beat) * self.beat + self.random.normal(0, self.inexact)))
