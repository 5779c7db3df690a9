"""Synthesisers by numpy: oscillators, and what electronic songs are made of, one mono stem at a time."""

from __future__ import annotations

import numpy as np

from training.synthesis.effects import band_pass, high_pass, low_pass
from training.synthesis.melody import PENTATONIC, Song
from training.synthesis.sound import LENGTH, RATE, Mono, Random, add_at, follow, hertz

WAVES = ("saw", "pulse", "fm", "sine", "supersaw")


def saw(frequency: Mono, phase: float) -> Mono:
    """Sawtooth with its corners rounded (PolyBLEP: V. Välimäki, A. Huovilainen, "Antialiasing oscillators in
    subtractive synthesis", IEEE Signal Processing Magazine 24(2), 2007); `frequency` in Hz by sample."""
    step = frequency / RATE
    place = (np.cumsum(step) + phase) % 1.0
    rising, safe = 2 * place - 1, np.maximum(step, 1e-9)
    after, before = place / safe, (place - 1) / safe
    rising = rising - np.where(place < step, 2 * after - after * after - 1, 0)
    return rising - np.where(place > 1 - step, before * before + 2 * before + 1, 0)


def oscillator(kind: str, frequency: Mono, random: Random) -> Mono:
    turns = np.cumsum(frequency) / RATE
    match kind:
        case "saw":
            return saw(frequency, random.random())
        case "pulse":
            phase = random.random()
            return saw(frequency, phase) - saw(frequency, phase + random.uniform(0.1, 0.5))
        case "fm":
            ratio = float(random.choice((1, 2, 3, 0.5)))
            return np.sin(2 * np.pi * turns + random.uniform(0.5, 4) * np.sin(2 * np.pi * turns * ratio))
        case "sine":
            return np.sin(2 * np.pi * turns)
    voices = [saw(frequency * 2 ** (cents / 1200), random.random()) for cents in random.uniform(-25, 25, 3)]
    return np.sum(voices, 0) / 1.7


def opened(sound: Mono, opening: Mono, random: Random) -> Mono:
    """Between a dark and a bright filtering of it, by `opening` from 0 to 1."""
    dark, bright = low_pass(sound, random.uniform(300, 1500)), low_pass(sound, random.uniform(2000, 9500))
    return dark * (1 - opening) + bright * opening


def synth_lead(song: Song) -> Mono:
    """A gliding tune with a little vibrato."""
    random = song.random
    low = int(random.integers(50, 70))
    notes = [note for note in range(low, low + 20) if (note - song.key) % 12 in PENTATONIC]
    place, start = int(random.integers(len(notes))), 0
    pitch, loudness = np.zeros(LENGTH), np.zeros(LENGTH)
    while start < LENGTH:
        end = min(LENGTH, start + int(float(random.choice((0.25, 0.5, 0.5, 1, 1, 2))) * song.beat * RATE))
        place = int(np.clip(place + random.choice((-2, -1, 1, 2, 0)), 0, len(notes) - 1))
        pitch[start:end] = notes[place]
        if random.random() > 0.15:
            held = int((end - start) * random.uniform(0.5, 1))
            loudness[start : start + held] = np.exp(-np.linspace(0, random.uniform(0, 3), held))
        start = end
    time = np.arange(LENGTH) / RATE
    pitch = follow(pitch, random.uniform(0.003, 0.05))
    pitch = pitch + random.uniform(0, 0.4) * np.sin(2 * np.pi * random.uniform(4.5, 7) * time)
    sound = oscillator(str(random.choice(WAVES)), hertz(pitch), random) * follow(loudness, 0.008)
    return opened(sound, 0.5 + 0.5 * np.sin(2 * np.pi * random.uniform(0.02, 0.6) * time), random)


def synth_stem(song: Song, kind: str) -> Mono:
    """`pad`, `pluck`, `stab` or `bass` over the song's chords."""
    random, stem = song.random, np.zeros(LENGTH)
    wave, octave, style = str(random.choice(WAVES)), int(random.choice((4, 5))), int(random.integers(3))
    order = random.integers(0, 6, 16)
    for bar in range(song.bars):
        for beat, beats, note in _events(song, kind, bar, octave, style, order):
            start, length = int((bar * 4 + beat) * song.beat * RATE), int(beats * song.beat * RATE)
            length = min(length, LENGTH - start)
            if length > 8:
                add_at(stem, start, _note(random, kind, wave, note, length))
    if kind in ("pad", "stab") and random.random() < 0.5:  # pumping, as under a kick drum
        phase = np.arange(LENGTH) / RATE / song.beat % 1
        stem *= np.clip(phase / random.uniform(0.2, 0.6), random.uniform(0, 0.4), 1)
    return stem


def _events(
    song: Song, kind: str, bar: int, octave: int, style: int, order: np.ndarray
) -> list[tuple[float, float, int]]:
    """(beat, beats, note) of one bar."""
    chord = song.chord(bar, octave)
    if kind == "pad":
        return [(0, 4, note) for note in chord]
    if kind == "pluck":
        wide = [*chord, *(note + 12 for note in chord)]
        return [(place / 4, 0.5, wide[order[place] % len(wide)]) for place in range(16) if order[place] != 5]
    if kind == "stab":
        return [(beat, 0.4, note) for beat in ((0, 1.5, 3) if style else (0.5, 1.5, 2.5, 3.5)) for note in chord]
    root = song.note(song.chords[bar], 2)
    root -= 12 if root > 45 else 0
    if style == 0:
        return [(0, 3.9, root)]
    return [(eighth / 2, 0.45, root + (12 * (eighth % 2) if style == 2 else 0)) for eighth in range(8)]


def _note(random: Random, kind: str, wave: str, note: int, length: int) -> Mono:
    time = np.arange(length) / RATE
    frequency, left = np.full(length, float(hertz(note))), length / RATE - time
    if kind == "pad":
        loudness = np.minimum(1, time / random.uniform(0.02, 0.4)) * np.minimum(1, left / 0.1)
        opening = np.full(length, 0.5)
    elif kind == "bass":
        wave = str(random.choice(("saw", "pulse", "sine")))
        loudness = np.minimum(1, time / 0.005) * np.minimum(1, left / 0.02) * np.exp(-0.7 * time)
        opening = np.exp(-5 * time)
    else:
        loudness = np.minimum(1, time / 0.003) * np.exp(-time * random.uniform(4, 12))
        opening = np.exp(-15 * time)
    return opened(oscillator(wave, frequency, random) * loudness, opening, random)


def drum_machine(song: Song) -> Mono:
    random, stem = song.random, np.zeros(LENGTH)

    def time(seconds: float) -> Mono:
        return np.arange(int(seconds * RATE)) / RATE

    def noise(seconds: float) -> Mono:
        return random.normal(0, 1, int(seconds * RATE))

    low, high, fall = random.uniform(35, 60), random.uniform(120, 350), random.uniform(4, 14)
    turns = low * time(0.5) + (high - low) * (1 - np.exp(-30 * time(0.5))) / 30
    kick = np.sin(2 * np.pi * turns) * np.exp(-fall * time(0.5))
    kick[:60] += random.normal(0, 0.3, 60)
    snare = 0.6 * noise(0.35) * np.exp(-random.uniform(9, 25) * time(0.35))
    snare += np.sin(2 * np.pi * random.uniform(160, 240) * time(0.35)) * np.exp(-25 * time(0.35))
    bursts = sum((np.exp(-np.square((time(0.3) - late) / 0.003)) for late in (0, 0.012, 0.024)), np.zeros(1))
    clap = band_pass(noise(0.3) * (0.5 * np.exp(-18 * time(0.3)) + bursts), 800, 5000)
    hat = high_pass(noise(0.2) * np.exp(-random.uniform(25, 90) * time(0.2)), 6000)
    four = random.random() < 0.5
    kicks = [0, 4, 8, 12] if four else [0, 8, *(place for place in (3, 6, 7, 10, 14) if random.random() < 0.35)]
    second, step = (snare if random.random() < 0.5 else clap), int(random.choice((1, 2, 2, 4)))
    for bar in range(song.bars):
        hits = [(place, kick, 1.0) for place in kicks] + [(place, second, 0.55) for place in (4, 12)]
        hits += [(place, hat, 0.3 * random.uniform(0.5, 1.1)) for place in range(0, 16, step)]
        for place, sound, gain in hits:
            add_at(stem, int((bar * 4 + place / 4) * song.beat * RATE), sound * gain)
    if random.random() < 0.2:  # a noise that rises into the song
        rising = min(int(16 * song.beat * RATE), LENGTH)
        swell = random.normal(0, 1, rising) * np.linspace(0, 1, rising) ** 2 * 0.2
        stem[:rising] += band_pass(swell, 0.05 * RATE / 2, 0.7 * RATE / 2)
    return stem
