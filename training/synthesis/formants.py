"""Voices that no program spoke: vowels by their formants (Peterson and Barney 1952), between them fricatives,
plosives and nasals. The same parameters as WORLD's, so that they can be sung."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter1d

from training.synthesis.sound import RATE, Mono, Random
from training.synthesis.speech import BINS, FFT, Parameters

VOWELS = np.array(
    [
        (730, 1090, 2440, 3400, 4500),
        (270, 2290, 3010, 3600, 4600),
        (300, 870, 2240, 3300, 4400),
        (530, 1840, 2480, 3500, 4500),
        (570, 840, 2410, 3300, 4400),
        (660, 1720, 2410, 3500, 4500),
        (440, 1020, 2240, 3300, 4400),
        (490, 1350, 1690, 3100, 4300),
        (390, 1990, 2550, 3500, 4500),
        (640, 1190, 2390, 3400, 4500),
    ],
    np.float64,
)
BANDWIDTHS = (80, 90, 130, 180, 250)
HERTZ = np.arange(BINS) / FFT * RATE
Frames = NDArray[np.float64]


class _Track:
    """Frames of 5 ms, one piece after the other."""

    def __init__(self) -> None:
        self.envelopes: list[Frames] = []
        self.aperiodicities: list[Frames] = []
        self.voiced: list[Mono] = []

    def add(self, envelope: Frames, aperiodicity: Frames, voiced: bool) -> None:
        self.envelopes.append(envelope)
        self.aperiodicities.append(aperiodicity)
        self.voiced.append(np.full(len(envelope), float(voiced)))


def babble(random: Random) -> Parameters:
    """Five to eleven syllables by one random voice."""
    track = _Track()
    tilt, widths, breath = random.uniform(0.8, 1.9), random.uniform(0.7, 1.6), random.uniform(0.02, 0.25)
    before = VOWELS[random.integers(len(VOWELS))]
    for syllable in range(int(random.integers(5, 12))):
        consonant = random.random()
        if consonant < 0.42:
            _fricative(track, random)
        elif consonant < 0.68:
            _plosive(track, random)
        vowel = VOWELS[random.integers(len(VOWELS))] * random.uniform(0.92, 1.08, 5)
        after = VOWELS[random.integers(len(VOWELS))] if random.random() < 0.25 else vowel
        places = _glide(random, before, vowel, after)
        envelope = _vowel(places, widths, tilt)
        if syllable and random.random() < 0.25:
            _nasal(track, random, float(envelope.max()))
        hiss = np.clip(breath * 0.3 + (HERTZ / random.uniform(5000, 16000)) ** 1.5, 0.001, 1)
        track.add(envelope, np.tile(hiss, (len(envelope), 1)), voiced=True)
        before = places[-1]
    envelope = np.exp(uniform_filter1d(np.log(np.concatenate(track.envelopes) + 1e-9), 5, axis=0))
    aperiodicity = uniform_filter1d(np.concatenate(track.aperiodicities), 3, axis=0)
    return Parameters(np.concatenate(track.voiced) * 150.0, envelope * 0.05, aperiodicity)


def _fricative(track: _Track, random: Random) -> None:
    frames = int(random.integers(10, 30))
    shape = np.exp(-0.5 * ((HERTZ - random.uniform(1500, 9500)) / random.uniform(600, 3000)) ** 2) + 0.02
    swell = np.sin(np.linspace(0.1, np.pi - 0.1, frames))[:, None] ** 2
    track.add(shape * swell * random.uniform(0.01, 0.25), np.ones((frames, BINS)), voiced=False)


def _plosive(track: _Track, random: Random) -> None:
    closed, burst = int(random.integers(6, 14)), int(random.integers(2, 5))
    shape = np.exp(-0.5 * ((HERTZ - random.uniform(800, 6000)) / random.uniform(500, 3000)) ** 2) + 0.05
    swell = np.concatenate([np.full(closed, 1e-5), np.linspace(1, 0.2, burst) ** 2])[:, None]
    track.add(shape * swell * random.uniform(0.02, 0.3), np.ones((closed + burst, BINS)), voiced=False)


def _nasal(track: _Track, random: Random, level: float) -> None:
    frames = int(random.integers(8, 18))
    shape = ((HERTZ / 250) ** 2 + 0.05) / (1 + (HERTZ / 300) ** 6) + 2e-4
    hiss = np.clip(0.02 + HERTZ / 9000, 0, 1)
    track.add(np.tile(shape * level * 0.3, (frames, 1)), np.tile(hiss, (frames, 1)), voiced=True)


def _glide(random: Random, before: Mono, vowel: Mono, after: Mono) -> Frames:
    """Formants (frames, 5) from the vowel before into this one and slowly on towards `after`."""
    frames = int(random.integers(14, 40))
    entry = min(frames // 2, int(random.integers(4, 14)))
    come = np.concatenate([np.linspace(0, 1, entry), np.ones(frames - entry)])[:, None]
    come = come * come * (3 - 2 * come)
    go = np.linspace(0, 1, frames)[:, None] ** 2
    return before * (1 - come) + (vowel * (1 - go) + after * go) * come


def _vowel(places: Frames, widths: float, tilt: float) -> Frames:
    """Power (frames, 513) of five resonators at `places` Hz behind a falling source."""
    gain = np.ones((len(places), BINS))
    for number, bandwidth in enumerate(BANDWIDTHS):
        half, place = bandwidth * widths / 2, places[:, number : number + 1]
        below, above = (HERTZ - place) ** 2 + half**2, (HERTZ + place) ** 2 + half**2
        gain *= (place**2 + half**2) / np.sqrt(below * above)
    falling = ((HERTZ + 150) / 500) ** (-2 * (tilt - 0.9)) / np.sqrt(1 + (HERTZ / 6000) ** 4)
    return gain**2 * falling + 1e-9
