"""Solo instruments by simple physics, that slide and tremble as freely as voices do but have no vowels: plucked,
bowed and blown ones, an electric guitar, and a theremin."""

from __future__ import annotations

import numpy as np
from scipy.signal import lfilter

from training.synthesis.effects import band_pass, high_pass, low_pass, peak, saturate
from training.synthesis.melody import Song, scale, tune
from training.synthesis.sound import LENGTH, RATE, Mono, Random, add_at, follow, hertz, smooth
from training.synthesis.synths import saw

CONTROL = 100
"""Values a second of slow curves, which are drawn coarse and interpolated."""


def plucked(song: Song) -> Mono:
    """Picked chords and a tune by plucked strings (K. Karplus, A. Strong: "Digital synthesis of plucked-string and
    drum timbres", Computer Music Journal 7(2), 1983), tuned by a fractional delay."""
    random, stem = song.random, np.zeros(LENGTH)
    damping, bright = random.uniform(0.988, 0.9985), random.uniform(0.2, 0.9)
    order, step = random.integers(0, 6, 16), int(random.choice((1, 2, 2, 4)))
    melody = tune(random, scale(random, song.key, 57, 76), 400)
    for bar in range(song.bars):
        chord = song.chord(bar, 4)
        wide = [chord[0] - 12, *chord, chord[0] + 12, chord[1] + 12]
        for place in range(0, 16, step):
            notes = [wide[order[place] % len(wide)]]
            if place % 4 == 0 and random.random() < 0.4:
                notes.append(int(melody[bar * 4 + place // 4]))
            for note in notes:
                string = _string(random, float(hertz(note)), damping, bright)
                add_at(stem, int(song.time(bar, place / 4) * RATE), string * random.uniform(0.5, 1))
    for place, quality, gain in ((110, 3, 5), (220, 4, 4), (400, 5, 3)):  # a wooden body
        stem = peak(stem, place * random.uniform(0.85, 1.15), quality, gain * random.uniform(0.3, 1.2))
    return stem


def _string(random: Random, frequency: float, damping: float, bright: float) -> Mono:
    length = int(random.uniform(0.8, 2.5) * RATE)
    period = RATE / frequency - 0.5
    whole = int(period)
    share = period - whole
    burst = low_pass(random.normal(0, 1, max(whole, 16)), 1500 + bright * 8000, 1)
    excited = np.zeros(length)
    excited[: len(burst)] = burst * np.hanning(len(burst)) ** 0.3
    # One turn of the loop is `period` samples and a mean of two neighbours.
    back = np.zeros(whole + 3)
    back[0] = 1
    for late, weight in ((whole, 0.5 * (1 - share)), (whole + 1, 0.5), (whole + 2, 0.5 * share)):
        back[late] -= damping * weight
    ringing = np.asarray(lfilter([1.0], back, excited), np.float64)
    ringing[-400:] *= np.linspace(1, 0, 400)
    return ringing


def _curves(song: Song, low: int, high: int, glide: float, rests: float = 0.15) -> tuple[Mono, Mono, Mono]:
    """By sample: note, loudness 0 to 1, and seconds since the note began."""
    random = song.random
    melody = tune(random, scale(random, song.key, low, high), 400)
    note, loudness, age, start = np.zeros(LENGTH), np.zeros(LENGTH), np.zeros(LENGTH), 0
    for pitch in melody:
        if start >= LENGTH:
            break
        end = min(LENGTH, start + int(float(random.choice((0.25, 0.5, 0.5, 1, 1, 2, 3))) * song.beat * RATE))
        note[start:end], age[start:end] = pitch, np.arange(end - start) / RATE
        if random.random() > rests:
            held = int((end - start) * random.uniform(0.8, 1))
            loudness[start : start + held] = random.uniform(0.5, 1)
        start = end
    return follow(note, glide), loudness, age


def _vibrato(random: Random, age: Mono, depth: float) -> Mono:
    """Semitones; sets in after a while, and is never quite even."""
    coarse = int(len(age) / RATE * CONTROL) + 2
    uneven = smooth(random.normal(0, 1, coarse), 30)
    speed = np.interp(np.arange(len(age)) / RATE * CONTROL, np.arange(coarse), 1 + 0.2 * uneven)
    turn = np.cumsum(speed * random.uniform(4.5, 7)) / RATE
    return depth * np.clip((age - random.uniform(0.05, 0.3)) / 0.3, 0, 1) * np.sin(2 * np.pi * turn)


def bowed(song: Song) -> Mono:
    """A violin, viola or cello: a sawtooth through a body, the bow's noise, vibrato, slides."""
    random = song.random
    low = int(random.choice((38, 45, 52, 57)))
    note, loudness, age = _curves(song, low, low + 24, random.uniform(0.01, 0.12), 0.08)
    note = note + _vibrato(random, age, random.uniform(0.1, 0.6))
    sound = saw(hertz(note), 0.0) + 0.08 * random.normal(0, 1, LENGTH)
    sound = sound * follow(loudness, random.uniform(0.02, 0.12))
    sound = low_pass(sound, random.uniform(2500, 7000), 1)
    for place in (280, 460, 700, 1100, 2500):
        sound = peak(sound, place * random.uniform(0.8, 1.25), random.uniform(2, 6), random.uniform(-4, 9))
    return high_pass(sound, 0.8 * float(hertz(low)))


def blown(song: Song) -> Mono:
    """A flute, clarinet, saxophone or trumpet: harmonics that brighten with loudness, and breath."""
    random = song.random
    low = int(random.choice((46, 50, 54, 60)))
    note, loudness, age = _curves(song, low, low + 24, random.uniform(0.004, 0.05))
    note = note + _vibrato(random, age, random.uniform(0, 0.5))
    scoop = random.uniform(-1.5, 0.2)
    note = note + scoop * np.exp(-age / random.uniform(0.03, 0.12))
    swell = follow(loudness * (1 - 0.3 * np.exp(-age / 0.2)), random.uniform(0.015, 0.06))
    turns, frequency = np.cumsum(hertz(note)) / RATE, hertz(note)
    odd, fall = random.random() < 0.35, random.uniform(0.35, 1.1)
    sound = np.zeros(LENGTH)
    for number in range(1, 16):
        weight = (0.15 if odd and number % 2 == 0 else 1) * np.exp(-fall * (number - 1) * (1.3 - 0.8 * swell))
        sound += weight * np.sin(2 * np.pi * turns * number) * (frequency * number < 0.45 * RATE)
    breath = band_pass(random.normal(0, 1, LENGTH), 800, 7000, 1) * random.uniform(0.01, 0.25)
    sound = (sound + breath) * swell
    return peak(sound, random.uniform(600, 3000), random.uniform(1, 4), random.uniform(0, 8))


def electric(song: Song) -> Mono:
    """A guitar solo: strings through distortion, bent up into their notes, with wide vibrato."""
    random = song.random
    low = int(random.integers(48, 62))
    note, loudness, age = _curves(song, low, low + 22, random.uniform(0.003, 0.02), 0.1)
    bent = np.where(np.floor(note) % 3 == 0, random.uniform(-2.2, -0.8), 0.0)
    note = note + bent * np.exp(-age / random.uniform(0.05, 0.25)) + _vibrato(random, age, random.uniform(0.1, 0.7))
    pick = 0.5 * np.exp(-age * 40) * random.normal(0, 1, LENGTH)
    sound = (saw(hertz(note), 0.0) + pick) * follow(loudness * np.exp(-age * random.uniform(0.2, 2)), 0.004)
    sound = saturate(low_pass(sound, random.uniform(2500, 6000), 1), 10 ** random.uniform(-0.3, 1.4))
    return band_pass(sound, random.uniform(80, 200), random.uniform(3000, 6500))


def theremin(song: Song) -> Mono:
    """One nearly pure tone that never stops gliding: also a musical saw, or a whistle."""
    random = song.random
    low = int(random.integers(50, 72))
    note, loudness, age = _curves(song, low, low + 19, random.uniform(0.04, 0.3), 0.05)
    note = note + _vibrato(random, age, random.uniform(0.1, 0.9))
    turns = np.cumsum(hertz(note)) / RATE
    sound = sum(
        (random.uniform(0, 0.5) ** number * np.sin(2 * np.pi * turns * (number + 1)) for number in range(5)),
        start=np.zeros(LENGTH),
    )
    return sound * follow(loudness, random.uniform(0.05, 0.3))


SOLOISTS = (plucked, bowed, blown, electric, theremin)
