"""What is done to sound between instrument and mix. Filters are by Butterworth or by R. Bristow-Johnson's
"Cookbook formulae for audio EQ biquad filter coefficients"; all of it takes (samples,) or (2, samples)."""

from __future__ import annotations

import functools
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, lfilter, sosfilt

from training.synthesis.sound import RATE, Mono, Random, Stereo, decibels, follow, rms

Sound = NDArray[np.float64]
ROOMS = 24
Kind = Literal["lowpass", "highpass", "bandpass"]


@functools.lru_cache(maxsize=256)
def _sections(kind: Kind, order: int, low: float, high: float) -> Sound:
    edges = [low, high] if kind == "bandpass" else low
    return np.asarray(butter(order, edges, kind, output="sos", fs=float(RATE)), np.float64)


def _safe(hertz: float) -> float:
    return float(round(min(max(hertz, 10.0), 0.47 * RATE), 1))


def high_pass(sound: Sound, hertz: float, order: int = 2) -> Sound:
    return np.asarray(sosfilt(_sections("highpass", order, _safe(hertz), 0), sound), np.float64)


def low_pass(sound: Sound, hertz: float, order: int = 2) -> Sound:
    return np.asarray(sosfilt(_sections("lowpass", order, _safe(hertz), 0), sound), np.float64)


def band_pass(sound: Sound, low: float, high: float, order: int = 2) -> Sound:
    return np.asarray(sosfilt(_sections("bandpass", order, _safe(low), _safe(high)), sound), np.float64)


def peak(sound: Sound, hertz: float, quality: float, gain_db: float) -> Sound:
    """Lift or lower around one frequency."""
    angle = 2 * np.pi * _safe(hertz) / RATE
    amplitude, alpha = decibels(gain_db / 2), np.sin(angle) / (2 * quality)
    over = np.array([1 + alpha * amplitude, -2 * np.cos(angle), 1 - alpha * amplitude])
    under = np.array([1 + alpha / amplitude, -2 * np.cos(angle), 1 - alpha / amplitude])
    return np.asarray(lfilter(over / under[0], under / under[0], sound), np.float64)


def resonance(sound: Sound, hertz: float, quality: float) -> Sound:
    """Low-pass with a resonance at its edge, as synthesisers have it."""
    angle = 2 * np.pi * _safe(hertz) / RATE
    alpha, low = np.sin(angle) / (2 * quality), 1 - np.cos(angle)
    over, under = np.array([low / 2, low, low / 2]), np.array([1 + alpha, -2 * np.cos(angle), 1 - alpha])
    return np.asarray(lfilter(over / under[0], under / under[0], sound), np.float64)


def equalise(sound: Sound, random: Random, most_db: float = 6) -> Sound:
    """One to three random peaks between 80 Hz and 8 kHz."""
    for _ in range(int(random.integers(1, 4))):
        hertz = float(np.exp(random.uniform(np.log(80), np.log(8000))))
        sound = peak(sound, hertz, random.uniform(0.5, 2), random.uniform(-most_db, most_db))
    return sound


def compress(sound: Sound, random: Random, threshold: float | None = None) -> Sound:
    """Above `threshold` (amplitude; random by default) only the root of the excess stays."""
    envelope = np.abs(sound).max(0) if sound.ndim > 1 else np.abs(sound)
    envelope = follow(envelope, random.uniform(0.005, 0.05)) + 1e-5
    ratio, edge = random.uniform(1.5, 6), threshold or random.uniform(0.05, 0.2)
    return sound * np.minimum(1, (envelope / edge) ** (1 / ratio - 1))


def saturate(sound: Sound, drive: float) -> Sound:
    """Soft clipping that begins around 3 times the RMS over `drive`; about as loud afterwards."""
    scale = 3 * rms(sound)
    return np.tanh(sound / scale * drive) * scale / drive**0.7


def pan(mono: Mono, place: float) -> Stereo:
    """Constant power; `place` from -1 (left) to 1 (right)."""
    angle = (float(np.clip(place, -1, 1)) + 1) * np.pi / 4
    return np.stack([mono * np.cos(angle), mono * np.sin(angle)]) * np.sqrt(2)


def delayed(sound: Sound, seconds: float) -> Sound:
    samples = min(int(seconds * RATE), sound.shape[-1])
    return np.concatenate([np.zeros((*sound.shape[:-1], samples)), sound[..., : sound.shape[-1] - samples]], -1)


def double(mono: Mono, random: Random, width: float) -> Stereo:
    """Artificial double tracking: two late copies to the sides."""
    late = random.uniform(0.008, 0.03)
    return pan(delayed(mono, late), width) + pan(delayed(mono, 1.4 * late), -width)


def widen(sound: Stereo, random: Random) -> Stereo:
    """Somewhere in the stereo picture: panned, delayed on one side, as it is, or with a wider side."""
    middle, side = sound.mean(0), (sound[0] - sound[1]) / 2
    match int(random.integers(4)):
        case 0:
            return pan(middle, random.uniform(-1, 1))
        case 1:
            return np.stack([middle, delayed(middle, random.uniform(0.004, 0.03)) * random.choice([1, -1])])
        case 2:
            return sound
    width = random.uniform(0.5, 2.5)
    return np.stack([middle + width * side, middle - width * side])


@functools.lru_cache(maxsize=ROOMS)
def room(number: int) -> Stereo:
    """One of ROOMS impulse responses: decaying noise of 0.15 to 2.2 s, unit energy."""
    random = np.random.default_rng([7, number])
    seconds = random.uniform(0.15, 2.2)
    time = np.arange(int(seconds * RATE)) / RATE
    response = random.normal(0, 1, (2, len(time))) * np.exp(-6.9 * time / seconds)
    response = high_pass(low_pass(response, random.uniform(2000, 9000), 1), random.uniform(80, 400), 1)
    response = np.pad(response, ((0, 0), (int(random.uniform(0, 0.03) * RATE), 0)))
    return response / np.sqrt(np.square(response).sum(1, keepdims=True))


def reverb(sound: Stereo, random: Random, wet: float) -> Stereo:
    """Add a room's answer to both channels, or to their mean."""
    response = room(int(random.integers(ROOMS)))
    sent = sound if random.random() < 0.5 else np.stack([sound.mean(0)] * 2)
    answer = np.asarray(fftconvolve(sent, response, axes=1), np.float64)
    return sound + wet * answer[:, : sound.shape[1]]


def echo(sound: Sound, seconds: float, feedback: float, crossing: bool = False) -> Sound:
    """Three repeats, each `feedback` times the one before; `crossing` ones change sides."""
    heard, step = sound.copy(), max(1, int(seconds * RATE))
    for repeat in range(1, 4):
        if repeat * step < sound.shape[-1]:
            again = sound[::-1] if crossing and repeat % 2 else sound
            heard[..., repeat * step :] += again[..., : sound.shape[-1] - repeat * step] * feedback**repeat
    return heard


def chorus(sound: Sound, random: Random) -> Sound:
    """A copy whose delay swings by up to 3 ms: chorus, or with little delay a flanger."""
    samples = sound.shape[-1]
    swing = 1 + np.sin(2 * np.pi * random.uniform(0.1, 1) * np.arange(samples) / RATE)
    places = np.clip(np.arange(samples) - (swing * random.uniform(5, 60)).astype(int), 0, None)
    return sound + 0.8 * sound[..., places]


def sweep(sound: Mono, random: Random, beat: float) -> Mono:
    """A resonant filter that moves with the beat (seconds), between four fixed ones."""
    edges = np.exp(np.linspace(np.log(random.uniform(200, 500)), np.log(random.uniform(1500, 5000)), 4))
    quality, turn = random.uniform(1.5, 6), float(random.choice([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4])) / beat
    time = np.arange(len(sound)) / RATE
    if random.random() < 0.7:
        place = (1 + np.sin(2 * np.pi * turn * time + random.uniform(0, 6))) * 1.5
    else:
        place = (time * turn % 1) * 3
    near = [np.clip(1 - np.abs(place - number), 0, 1) for number in range(4)]
    return sum(
        (resonance(sound, edge, quality) * weight for edge, weight in zip(edges, near, strict=True)),
        start=np.zeros(len(sound)),
    )


def gate(sound: Mono, random: Random, beat: float) -> Mono:
    """Sixteenths switched on and off by a random pattern."""
    pattern = (random.random(16) < 0.6).astype(np.float64)
    pattern[0] = 1
    sixteenth = (np.arange(len(sound)) / RATE / beat * 4).astype(int) % 16
    return sound * follow(pattern[sixteenth], 0.004)


def crush(sound: Mono, hold: int = 3) -> Mono:
    """Every value held for so many samples, with the aliases that this makes."""
    return np.repeat(sound[::hold], hold)[: len(sound)]
