"""Single instruments that are no voice: leads with bends and vibrato, and pieces for one or two instruments.

These are what a network takes for singing when it has never heard them alone.
"""

from __future__ import annotations

import numpy as np

from training.synthesis.melody import PENTATONIC, Song, scale, tune
from training.synthesis.midi import Track
from training.synthesis.parts import breathing
from training.synthesis.sound import SECONDS

BOWED = (40, 40, 41, 42, 42, 110)
BLOWN = (64, 65, 65, 66, 66, 67, 68, 69, 71, 71, 72, 73, 73, 74, 75, 77, 78, 79)
BRASS = (56, 56, 57, 57, 58, 59, 60)
ELECTRIC = (26, 27, 28, 29, 29, 30, 30)
SYNTHS = (80, 80, 81, 81, 82, 83, 84, 86, 87)
OTHERS = (22, 21, 23, 109, 111, 11, 13, 104, 105, 106, 0, 4, 16, 18, 24, 25, 26)
LEADS = (BOWED, BLOWN, BRASS, ELECTRIC, SYNTHS, OTHERS)
PLUCKED = (24, 24, 24, 25, 25, 25, 45, 45, 46, 104, 105, 106, 107, 15, 26)
KEYED = (0, 0, 0, 1, 2, 3, 4, 5, 6, 8, 8, 9, 10, 11, 12, 13)
ENSEMBLES = (40, 41, 42, 48, 48, 49, 44, 60, 68, 71, 73)
LENGTHS = (0.25, 0.5, 0.5, 0.5, 1, 1, 2, 3)


def lead(song: Song, family: tuple[int, ...] | None = None) -> Track:
    """A tune with bends into notes, vibrato that sets in late, and rests."""
    random = song.random
    chosen = family or LEADS[int(random.integers(len(LEADS)))]
    track = Track(int(random.choice(chosen)))
    track.control(91, int(random.integers(0, 90)))
    low = int(random.integers(45, 68))
    notes = scale(random, song.key, low, low + 22)
    melody = tune(random, notes, 400)
    bends = random.random() < (0.95 if chosen in (ELECTRIC, BOWED) else 0.7)
    speed, depth = random.uniform(4.5, 7), random.uniform(0.05, 0.7)
    legato, doubled = random.uniform(0.7, 1.05), random.random() < 0.2
    if chosen in (BOWED, BLOWN, BRASS) and random.random() < 0.7:
        breathing(track, random, SECONDS)
    now = 0.0
    for pitch in melody:
        length = float(random.choice(LENGTHS)) * song.beat
        if now > SECONDS:
            break
        if random.random() < 0.15:
            now += length
            continue
        loudness = random.normal(98, 10)
        track.note(now, length * legato, pitch, loudness)
        if doubled:
            track.note(now, length * legato, pitch - int(random.choice((3, 4, 12))), loudness)
        if bends:
            _bend(track, song, now, length, speed, depth)
        now += length
    return track


def _bend(track: Track, song: Song, start: float, length: float, speed: float, depth: float) -> None:
    random = song.random
    scoop = random.uniform(-2.2, 0.3) if random.random() < 0.35 else 0.0
    slow = random.uniform(0.04, 0.2)
    for time in np.arange(0, length, 0.02):
        shake = depth * np.sin(2 * np.pi * speed * time) * min(1, max(0, (time - 0.2) / 0.3))
        track.bend(start + float(time), float(scoop * np.exp(-time / slow) + shake))


def ballad(song: Song) -> list[Track]:
    """Picked chords of one instrument, often with a tune on top or a second, bowed or blown, one."""
    random = song.random
    program = int(random.choice(PLUCKED if random.random() < 0.65 else KEYED))
    track = Track(program)
    octave, loudness = int(random.choice((3, 4, 4))), random.uniform(60, 100)
    picked = [int(place) for place in random.integers(0, 6, 16)]
    step, strums = int(random.choice((1, 2, 2, 2, 4))), random.random() < 0.2
    singing = random.random() < 0.6
    high = tune(random, scale(random, song.key, 60, 81), 400)
    for bar in range(song.bars):
        chord = song.chord(bar, octave)
        wide = [*chord, *(note + 12 for note in chord), chord[0] + 24]
        bass_note = chord[0] - (12 if chord[0] > 50 else 0)
        track.note(song.time(bar, 0), song.beat * random.uniform(1.5, 3.9), bass_note, random.normal(loudness, 6))
        for place in range(0, 16, 4 if strums else step):
            if random.random() < 0.12:
                continue
            notes = wide[1:5] if strums else [wide[1 + picked[place] % (len(wide) - 1)]]
            for number, note in enumerate(notes):
                begin = song.time(bar, place / 4) + 0.015 * number
                track.note(begin, song.beat * random.uniform(0.5, 2.5), note, random.normal(loudness - 8, 8))
        for beat in range(4) if singing else ():
            if random.random() < 0.55:
                pitch = int(high[bar * 4 + beat])
                track.note(
                    song.time(bar, beat), song.beat * random.uniform(0.8, 1.9), pitch, random.normal(loudness + 12, 8)
                )
    tracks = [track]
    if random.random() < 0.35:
        tracks.append(lead(song, BOWED if random.random() < 0.5 else BLOWN))
    return tracks


def chamber(song: Song) -> list[Track]:
    """One to four bowed or blown lines, each slow and swelling."""
    random = song.random
    tracks = []
    for number in range(int(random.choice((1, 2, 3, 4)))):
        track = Track(int(random.choice(ENSEMBLES)))
        breathing(track, random, SECONDS)
        speed, depth = random.uniform(4.5, 6.5), random.uniform(0.05, 0.5)
        low = 45 + 6 * number + int(random.integers(0, 6))
        walk = tune(random, scale(random, song.key, low, low + 16), 400)
        for bar in range(song.bars):
            beat = 0.0
            while beat < 4:
                length = float(random.choice((0.5, 1, 1, 2, 4)))
                if random.random() < 0.9:
                    start = song.time(bar, beat)
                    pitch = int(walk[bar * 8 + int(2 * beat)])
                    if length >= 2 and pitch % 12 not in {note % 12 for note in song.chord(bar, 0)}:
                        pitch += 1
                    track.note(start, song.beat * length * 1.02, pitch, random.normal(88, 10))
                    _bend(track, song, start, song.beat * length, speed, depth)
                beat += length
        tracks.append(track)
    return tracks


def passage(song: Song) -> list[Track]:
    """One or two leads that play where a singer would, to be put over a band."""
    random = song.random
    count = 1 if random.random() < 0.7 else 2
    families = [LEADS[int(random.integers(len(LEADS)))] for _ in range(count)]
    return [lead(song, family) for family in families]


def riff(song: Song) -> Track:
    """A pentatonic figure of electric guitar or synth that comes back bar after bar."""
    random = song.random
    track = Track(int(random.choice(ELECTRIC + SYNTHS)))
    base, places = 48 + song.key, sorted({0, *(int(place) for place in random.integers(0, 16, 6))})
    notes = [base + int(random.choice(PENTATONIC)) + 12 * int(random.integers(2)) for _ in places]
    for bar in range(song.bars):
        for place, note in zip(places, notes, strict=True):
            track.note(song.time(bar, place / 4), song.beat * random.uniform(0.2, 0.9), note, random.normal(98, 8))
    return track
