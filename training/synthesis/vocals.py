"""Clips of voice alone: phrases of one singer, or a choir, through the chains of effects that voices go through."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.synthesis import effects, midi
from training.synthesis.formants import babble
from training.synthesis.melody import Song, draw_key
from training.synthesis.singing import Singer, draw_singer, sing
from training.synthesis.sound import LENGTH, RATE, Mono, Random, Stereo, add_at, decibels, fitted, levelled, rms
from training.synthesis.speech import Parameters, Speaker, draw_speaker, speak

CHOIR_PROGRAMS = (52, 52, 53)
"""General MIDI's "Choir Aahs" and "Voice Oohs": people, recorded."""
TRIES = 40


class NobodySang(Exception):
    """The speech programs gave nothing usable, again and again."""


def vocals(random: Random, folder: Path) -> Stereo:
    """One clip of a lead voice, often with doubles, harmonies or a whole choir of itself."""
    key, singer = draw_key(random), draw_singer(random)
    speaker = draw_speaker(random) if random.random() < 0.82 else None
    copies = 1 if random.random() < 0.6 else int(random.integers(2, 5))
    if random.random() < 0.06:
        copies = 7
    clip = np.zeros((2, LENGTH))
    place, back_gain = random.normal(0, 0.03), decibels(random.uniform(-14, -2))
    if random.random() < 0.15:
        place = random.uniform(-0.7, 0.7)
    width, tracked = random.uniform(0.2, 1), copies == 1 and random.random() < 0.33
    pause = float(random.choice((0.05, 0.3, 1.0, 2.5)))
    start = int(random.uniform(0, 3) * RATE) if random.random() < 0.5 else 0
    while start < LENGTH - RATE // 2:
        phrase = _phrase(random, folder, speaker, singer, key, copies)
        lead = effects.pan(phrase[0], place)
        for number, voice in enumerate(phrase[1:], start=1):
            side = width * (1 if number % 2 else -1) * random.uniform(0.4, 1)
            lead = lead + back_gain * effects.pan(voice, side)
        if tracked:
            lead = lead + 0.6 * effects.double(phrase[0], random, width)
        if random.random() < 0.3:
            breath = _breath(random)
            add_at(clip, max(0, start - len(breath)), effects.pan(breath, place))
        add_at(clip, start, lead * decibels(random.normal(0, 2)))
        start += phrase.shape[1] + int(random.exponential(pause) * RATE)
        if random.random() < 0.12:
            start = max(0, start - int(random.uniform(0.2, 2) * RATE))
    return _chain(clip, random, singer.style)


def choir(random: Random, folder: Path) -> Stereo:
    """One clip of recorded choir sounds: chords or a single line, aah or ooh."""
    song, track = Song(random, 55, 110), midi.Track(program=int(random.choice(CHOIR_PROGRAMS)))
    octave, chords, moving = int(random.choice((4, 5))), random.random() < 0.6, random.random() < 0.4
    for bar in range(song.bars):
        if random.random() < 0.12:
            continue
        notes = song.chord(bar, octave) if chords else [song.chord(bar, octave)[int(random.integers(3))]]
        for part in range(2 if moving else 1):
            for note in notes:
                step = 0 if part == 0 or random.random() < 0.6 else int(random.choice((-2, 2, 12)))
                length = song.beat * (2 if moving else 4) * 0.97
                track.note(song.time(bar, 2 * part), length, note + step, random.normal(90, 8))
    (sound,) = midi.render([track], random, folder)
    return _chain(sound, random, "sung")


def _phrase(
    random: Random, folder: Path, speaker: Speaker | None, singer: Singer, key: int, copies: int
) -> NDArray[np.float64]:
    """(voices, samples) at LEVEL, the lead first. Raises NobodySang."""
    for _ in range(TRIES):
        spoken: Parameters | None = babble(random) if speaker is None else speak(random, speaker, folder)
        if spoken is None or np.count_nonzero(spoken.pitch) < 20:
            continue
        voices = sing(random, spoken, singer, key, copies)
        if voices is None or voices.shape[1] < RATE or not np.isfinite(voices).all() or rms(voices[0]) < 1e-5:
            continue
        voices = voices / rms(voices[0]) * 0.08
        if singer.style == "screamed":
            voices = _scream(voices, random)
        elif random.random() < 0.3:
            voices = effects.saturate(voices, random.uniform(0.5, 3))
        return np.clip(voices, -1, 1)
    raise NobodySang(f"{TRIES} lines by {speaker} gave no phrase.")


def _scream(voices: NDArray[np.float64], random: Random) -> NDArray[np.float64]:
    """Rough, by a quick trembling of loudness as of vocal folds that beat every second or third time; then clipped."""
    time = np.arange(voices.shape[1]) / RATE
    tremble = 1 + random.uniform(0.3, 0.9) * np.sin(2 * np.pi * random.uniform(35, 90) * time)
    return effects.saturate(voices * tremble, random.uniform(3, 10))


def _breath(random: Random) -> Mono:
    """Breathing in: noise through a throat, swelling and breaking off."""
    noise = random.normal(0, 1, int(random.uniform(0.15, 0.6) * RATE))
    shaped = effects.band_pass(noise, random.uniform(400, 1200), random.uniform(3500, 9000), 1)
    shaped = effects.peak(shaped, random.uniform(1200, 2500), 2, random.uniform(3, 10))
    swell = np.sin(np.pi * np.linspace(0, 1, len(noise)) ** random.uniform(0.8, 2.5)) ** 2
    return shaped / rms(shaped) * swell * 0.08 * decibels(random.uniform(-26, -8))


def _chain(clip: Stereo, random: Random, style: str) -> Stereo:
    """Cleaning, equaliser, compression, distortion, echo and room; at LEVEL."""
    clip = effects.high_pass(clip, random.uniform(40, 160))
    clip = effects.equalise(clip, random, 8)
    if random.random() < 0.4:
        clip = clip + effects.high_pass(clip, random.uniform(3000, 6000), 1) * random.uniform(0, 1.5)
    if random.random() < 0.7:
        clip = effects.compress(clip, random)
    if random.random() < (0.5 if style == "screamed" else 0.1):
        clip = effects.saturate(clip, random.uniform(1, 5))
    if random.random() < 0.06:  # through a telephone
        clip = effects.band_pass(clip, random.uniform(250, 500), random.uniform(2200, 4500))
    if random.random() < 0.25:
        clip = effects.echo(clip, random.uniform(0.12, 0.5), decibels(random.uniform(-16, -5)), crossing=True)
    if random.random() < 0.85:
        clip = effects.reverb(clip, random, decibels(random.uniform(-24, -6)))
    return levelled(fitted(clip))
