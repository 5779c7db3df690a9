"""What all synthesis shares: types, units and the smallest tools."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

RATE = 22050
"""Samples a second: half of the product's rate. The network sees 0 to 11 kHz, which is all there is here."""
SECONDS = 24.0
LENGTH = int(SECONDS * RATE)
LEVEL = 0.08
"""RMS of a finished clip: leaves room for peaks in 16 bits."""

Mono = NDArray[np.float64]
"""(samples,)"""
Stereo = NDArray[np.float64]
"""(2, samples)"""
Random = np.random.Generator


def decibels(value: float) -> float:
    """dB → factor of amplitude."""
    return float(10 ** (value / 20))


def hertz(note: Mono | float) -> Mono:
    """MIDI note numbers → frequencies, A4 (69) = 440 Hz."""
    return 440 * 2 ** ((np.asarray(note, np.float64) - 69) / 12)


def rms(sound: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.square(sound)) + 1e-12))


def levelled(sound: NDArray[np.float64], level: float = LEVEL) -> NDArray[np.float64]:
    """At RMS `level`, clipped where that goes beyond full scale. Silence stays silence."""
    loudness = rms(sound)
    return np.clip(sound / loudness * level, -0.99, 0.99) if loudness > 1e-5 else sound


def smooth(curve: Mono, width: float) -> Mono:
    """Weighted mean over about `width` values to either side; ends are held."""
    half = max(1, int(width))
    window = np.hanning(half + 2)
    held = np.pad(curve, (half, half), mode="edge")
    return np.convolve(held, window / window.sum(), "same")[half:-half]


def follow(curve: Mono, seconds: float) -> Mono:
    """One-pole low-pass with that time constant, starting at the curve's own first value."""
    keep = np.exp(-1 / (seconds * RATE))
    return np.asarray(lfilter([1 - keep], [1, -keep], curve - curve[0]), np.float64) + curve[0]


def fitted(sound: NDArray[np.float64], length: int = LENGTH) -> NDArray[np.float64]:
    """Cut, or silence added at the end, to `length` samples."""
    missing = max(0, length - sound.shape[-1])
    return np.pad(sound, [(0, 0)] * (sound.ndim - 1) + [(0, missing)])[..., :length]


def add_at(track: NDArray[np.float64], start: int, sound: NDArray[np.float64]) -> None:
    """Add `sound` to `track` from sample `start` on, as far as it reaches."""
    if start < track.shape[-1]:
        end = min(track.shape[-1], start + sound.shape[-1])
        track[..., start:end] += sound[..., : end - start]


def choose(random: Random, *options: tuple[float, str]) -> str:
    """One of (weight, name)."""
    weights = np.array([weight for weight, _ in options])
    return options[int(random.choice(len(options), p=weights / weights.sum()))][1]
