"""Speech becomes song: WORLD's parameters of a spoken line are stretched over notes and given a tune.

A line's syllables are found by their loud voiced middles. Each gets a note; consonants keep their length, the vowel's
middle is stretched. `Singer` says how all of it sounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from training.synthesis.melody import scale, tune
from training.synthesis.sound import RATE, Mono, Random, choose, hertz, smooth
from training.synthesis.speech import BINS, FFT, FRAME_MS, Parameters

RANGES = {
    "deep": (38, 57),
    "bass": (40, 60),
    "baritone": (45, 64),
    "tenor": (48, 69),
    "alto": (53, 74),
    "soprano": (57, 81),
    "child": (60, 84),
}
"""MIDI notes; `deep` to `baritone` have their fundamentals from 73 to 330 Hz."""
STRETCH = {
    "deep": (0.78, 0.95),
    "bass": (0.82, 1.0),
    "baritone": (0.82, 1.0),
    "tenor": (0.9, 1.12),
    "alto": (0.9, 1.12),
}
"""Of the formants; all others 1.0 to 1.3."""
NOTE_BEATS = (0.25, 0.5, 0.5, 0.5, 1, 1, 1.5, 2, 4)
NOTE_WEIGHTS = (0.12, 0.2, 0.2, 0.13, 0.15, 0.08, 0.06, 0.04, 0.02)
BIN = np.arange(BINS)


@dataclass(frozen=True, slots=True)
class Singer:
    style: str
    """sung, rapped, whispered or screamed."""
    low: int
    high: int
    """Lowest and highest note."""
    formants: float
    """Stretch of the spectral envelope."""
    colour: Mono
    """Gain of power per bin, (513,): tilt and a singer's formant near 3 kHz."""
    sibilance: float
    """Gain of power of unvoiced frames above 3 kHz."""
    breath: float
    vibrato_hertz: float
    vibrato: float
    """Semitones."""
    beat: float
    """Seconds."""


@dataclass(frozen=True, slots=True)
class Line:
    """Frame by frame: place in the spoken line (-1: rest), note, depth of vibrato and loudness."""

    source: Mono
    note: Mono
    vibrato: Mono
    loudness: Mono


def draw_singer(random: Random) -> Singer:
    style = choose(random, (0.77, "sung"), (0.13, "rapped"), (0.04, "whispered"), (0.06, "screamed"))
    weights = ((0.13, "deep"), (0.13, "bass"), (0.18, "baritone"), (0.17, "tenor"), (0.17, "alto"))
    kind = choose(random, *weights, (0.15, "soprano"), (0.07, "child"))
    lowest, highest = RANGES[kind]
    centre = int(random.integers(lowest, highest - 8))
    tilt = random.uniform(-0.5, 0.9)
    ring = random.uniform(0, 2) if random.random() < 0.5 else 0.0
    near = np.exp(-0.5 * ((BIN / FFT * RATE - random.uniform(2600, 3500)) / 400) ** 2)
    return Singer(
        style=style,
        low=max(lowest, centre - 2),
        high=min(highest, centre + 12),
        formants=random.uniform(*STRETCH.get(kind, (1.0, 1.3))),
        colour=10 ** (-0.12 * tilt * np.log2(np.maximum(BIN, 4) / 30)) * (1 + ring * near),
        sibilance=float(10 ** random.uniform(-0.2, 1.3)),
        breath=2 * random.uniform(0, 0.6) ** 2,
        vibrato_hertz=random.uniform(4.6, 6.8),
        vibrato=random.uniform(0.05, 0.9) if random.random() < 0.8 else 0.0,
        beat=60 / random.uniform(60, 150),
    )


def sing(random: Random, spoken: Parameters, singer: Singer, key: int, copies: int = 1) -> NDArray[np.float64] | None:
    """(copies, samples): the lead first, then doubles and harmonies. None for a line without two syllables."""
    line = _score(random, spoken, singer, key)
    if line is None:
        return None
    voices = [_voice(random, spoken, singer, line, copy) for copy in range(copies)]
    shortest = min(map(len, voices))
    return np.stack([voice[:shortest] for voice in voices])


def _syllables(spoken: Parameters) -> tuple[list[int], list[int]]:
    """Middles and the boundaries around them, in frames."""
    voiced, frames = spoken.pitch > 0, len(spoken.pitch)
    level = smooth(np.sqrt(spoken.envelope.sum(1)) * voiced, 7)
    edge = 0.08 * level.max()
    middles = [
        frame
        for frame in range(3, frames - 3)
        if voiced[frame] and level[frame] > edge and level[frame] == level[max(0, frame - 12) : frame + 13].max()
    ]
    between = [int(one + np.argmin(level[one:other])) for one, other in pairwise(middles)]
    return middles, [0, *between, frames]


def _score(random: Random, spoken: Parameters, singer: Singer, key: int) -> Line | None:
    middles, edges = _syllables(spoken)
    if len(middles) < 2:
        return None
    rapped = singer.style == "rapped"
    beat_frames = singer.beat * 1000 / FRAME_MS
    notes = tune(random, scale(random, key, singer.low, singer.high), len(middles))
    columns: list[tuple[Mono, Mono, Mono, Mono]] = []
    for number, middle in enumerate(middles):
        start, end, note = edges[number], edges[number + 1], float(notes[number])
        length = float(random.choice(NOTE_BEATS, p=np.array(NOTE_WEIGHTS) / sum(NOTE_WEIGHTS))) * beat_frames
        if rapped:
            length = (end - start) * random.uniform(0.8, 1.3)
        elif number == len(middles) - 1:
            length = max(length, random.uniform(0.5, 2) * 1000 / FRAME_MS)
        source = _stretched(random, start, middle, end, length)
        frames, onset = len(source), int(random.uniform(0.1, 0.4) * 1000 / FRAME_MS)
        vibrato = np.minimum(1, np.maximum(0, np.arange(frames) - onset) / 40) * (frames > onset + 20)
        fall = np.exp(-random.uniform(0, 2.5) * np.linspace(0, 1, frames)) * random.uniform(0.6, 1)
        columns.append((source, np.full(frames, note), vibrato * singer.vibrato * random.uniform(0.5, 1.2), fall))
        if random.random() < 0.1 and not rapped:
            rest = int(float(random.choice((0.5, 1, 2))) * beat_frames)
            columns.append((np.full(rest, -1.0), np.full(rest, note), np.zeros(rest), np.full(rest, 1e-4)))
    source, note_track, depth, loudness = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return Line(source, note_track, depth, smooth(loudness, 12))


def _stretched(random: Random, start: int, middle: int, end: int, length: float) -> Mono:
    """Places in the spoken line for a syllable that shall last so many frames."""
    first, last = start + 0.55 * (middle - start), middle + 0.5 * (end - middle)
    into, out = int(first - start), int(end - last)
    if length < into + out + 6:
        return np.linspace(start, end, max(6, int(length)), endpoint=False)
    held = np.linspace(first, last, int(length) - into - out, endpoint=False)
    if len(held) > 30:  # a held vowel is never quite still
        held = np.clip(held + smooth(random.normal(0, 1, len(held)), 25), first, max(first, last - 1e-3))
    before, after = np.linspace(start, first, into, endpoint=False), np.linspace(last, end, out, endpoint=False)
    return np.concatenate([before, held, after])


def _voice(random: Random, spoken: Parameters, singer: Singer, line: Line, copy: int) -> Mono:
    import pyworld  # only voices need it

    frames, spoken_frames = len(line.source), len(spoken.pitch)
    place = np.maximum(line.source, 0)
    if copy:  # another take is never on the same frames
        place = place + 8 * smooth(random.normal(0, 1, frames), 60)
    place = np.clip(place, 0, spoken_frames - 1.001)
    left = place.astype(int)
    right, share = np.minimum(left + 1, spoken_frames - 1), (place - left)[:, None]
    logs = np.log(spoken.envelope + 1e-12)
    envelope = np.exp(logs[left] * (1 - share) + logs[right] * share)
    aperiodicity = spoken.aperiodicity[left] * (1 - share) + spoken.aperiodicity[right] * share
    envelope, aperiodicity = _warped(envelope, singer.formants), _warped(aperiodicity, singer.formants)
    voiced = (spoken.pitch[left] > 0) & (line.source >= 0)
    hissing = np.where(voiced, 1.0, singer.sibilance)[:, None]
    envelope = envelope * singer.colour * np.where(BIN / FFT * RATE > 3000, hissing, 1)
    breath = singer.breath + (0.45 if singer.style == "screamed" else 0)
    aperiodicity = np.clip(aperiodicity + breath * BIN / BINS, 0.001, 1)
    turn = np.cumsum(singer.vibrato_hertz * (1 + 0.24 * smooth(random.normal(0, 1, frames), 40)))
    swing = np.sin(2 * np.pi * turn * FRAME_MS / 1000)
    pitch = hertz(_pitch(random, spoken, singer, line, place, copy) + line.vibrato * swing)
    if singer.style == "whispered":
        voiced = np.zeros_like(voiced)
    power = np.square(line.loudness * (1 + 0.25 * line.vibrato * swing)) * np.where(line.source < 0, 1e-8, 1)
    voice = np.asarray(
        pyworld.synthesize(
            np.where(voiced, pitch, 0.0),
            np.ascontiguousarray(envelope * power[:, None]),
            np.ascontiguousarray(aperiodicity),
            RATE,
            FRAME_MS,
        ),
        np.float64,
    )
    if copy and random.random() < 0.7:
        voice = np.roll(voice, int(random.uniform(-0.03, 0.03) * RATE))
    return voice


def _pitch(random: Random, spoken: Parameters, singer: Singer, line: Line, place: Mono, copy: int) -> Mono:
    """MIDI notes by frame, without vibrato: portamento, scoops into notes, drift and jitter."""
    harmony = float(random.choice((0, 0, 3, 4, 7, -5, -12, 12))) if copy else 0.0
    frames = len(line.note)
    if singer.style == "rapped":
        middle = np.median(spoken.pitch[spoken.pitch > 0])
        contour = np.interp(place, np.arange(len(spoken.pitch)), np.where(spoken.pitch > 0, spoken.pitch, middle))
        return smooth(line.note[0] + 12 * np.log2(np.maximum(contour, 50) / middle), 8)
    note = smooth(line.note + harmony, random.uniform(6, 26))
    for start in np.flatnonzero(np.diff(np.concatenate([[-9.0], line.note]))):
        if random.random() < 0.3:
            width = int(random.uniform(10, 40))
            reach = min(width, frames - int(start))
            fall = np.exp(-np.arange(reach) / (width / 3))
            note[start : start + reach] -= random.uniform(0.3, 2.5) * fall
    drift = smooth(random.normal(0, 1, frames), 50) * random.uniform(0.06, 0.36)
    rough = 0.5 if singer.style == "screamed" else 0.05
    return note + drift + rough * smooth(random.normal(0, 1, frames), 4)


def _warped(values: NDArray[np.float64], stretch: float) -> NDArray[np.float64]:
    """Along the bins: what was at bin k comes to k · stretch."""
    place = np.clip(BIN / stretch, 0, BINS - 1)
    left = place.astype(int)
    share = place - left
    return values[:, left] * (1 - share) + values[:, np.minimum(left + 1, BINS - 1)] * share
