"""What a band plays, as MIDI: drums, bass and harmonies. Leads and solo pieces are in `solos`.

No program of the harmonies is a voice: General MIDI's 52 to 54, 85 and 91 are left to the choirs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from training.synthesis.melody import Song
from training.synthesis.midi import DRUMS, Track

KITS = (0, 0, 0, 8, 16, 24, 25, 32, 40)
KICK, TOMS = 36, (38, 45, 47, 50, 43, 41)
PERCUSSION = (54, 56, 62, 63, 64, 75, 76, 39, 58, 69, 70)
BASSES = (32, 33, 33, 34, 35, 36, 37, 38, 39, 38)
FAMILIES = {
    "keys": (0, 1, 2, 3, 4, 5, 6, 7),
    "organ": (16, 17, 18, 19, 20, 21),
    "guitar": (24, 25, 25, 26, 27, 28, 29, 30, 31),
    "strings": (44, 45, 46, 48, 49, 50, 51, 48),
    "pad": (88, 89, 90, 92, 93, 94, 95, 50, 51),
    "mallet": (8, 9, 10, 11, 12, 13, 14, 15, 46, 104, 105, 106, 107, 108, 98, 99),
    "brass": (55, 61, 62, 63, 56, 57, 60, 80, 81, 83, 84, 86, 87),
}


def drums(song: Song) -> Track:
    random, track = song.random, Track(int(song.random.choice(KITS)), DRUMS)

    def some(places: Iterable[int], probability: float) -> list[int]:
        return [place for place in places if random.random() < probability]

    match int(random.integers(4)):
        case 0:
            kicks, snares = [0, 8, *some((3, 6, 10, 11, 14), 0.3)], [4, 12]
        case 1:
            kicks, snares = [0, 4, 8, 12], [4, 12] if random.random() < 0.8 else []
        case 2:
            kicks, snares = [0, *some((5, 6, 7, 10, 13), 0.35)], [8]
        case _:
            kicks, snares = [0, 10, *some((3, 7, 14), 0.3)], [4, 12, *some((7, 9, 15), 0.3)]
    hat, step = int(random.choice((42, 42, 46, 51, 44, 70, 69))), int(random.choice((1, 2, 2, 2, 4)))
    snare, ghosts = int(random.choice((38, 40, 37, 39))), random.random() < 0.3
    extras = [(int(random.choice(PERCUSSION)), some(range(16), 0.2)) for _ in range(int(random.integers(0, 3)))]

    def hit(bar: int, sixteenth: int, drum: int, loudness: float, spread: float = 8) -> None:
        track.note(song.time(bar, sixteenth / 4), 0.1, drum, random.normal(loudness, spread))

    for bar in range(song.bars):
        fill = bar % 4 == 3 and random.random() < 0.6
        for place in kicks:
            hit(bar, place, KICK, 110)
        for place in snares:
            if not (fill and place > 8):
                hit(bar, place, snare, 108)
        for place in some((2, 7, 9, 14), 0.4) if ghosts else ():
            hit(bar, place, 38, 45)
        for place in range(0, 16, step):
            opened = hat == 42 and random.random() < 0.06
            hit(bar, place, 46 if opened else hat, 88 if place % 4 == 0 else 66, 9)
        for place in range(10, 16) if fill else ():
            hit(bar, place, int(random.choice(TOMS)), 100, 10)
        if bar % 4 == 0 and random.random() < 0.6:
            hit(bar, 0, int(random.choice((49, 57, 55, 52))), 105)
        for drum, places in extras:
            for place in places:
                hit(bar, place, drum, 80, 10)
    return track


def bass(song: Song) -> Track:
    random, track = song.random, Track(int(song.random.choice(BASSES)))
    style, octave = int(random.integers(5)), int(random.choice((2, 3)))
    pattern = sorted({0, *(place for place in range(16) if random.random() < 0.35)})
    for bar in range(song.bars):
        root = song.note(song.chords[bar], octave)
        root -= 12 if root > 52 else 0

        def play(beat: float, beats: float, interval: int = 0, bar: int = bar, root: int = root) -> None:
            track.note(song.time(bar, beat), song.beat * beats, root + interval, random.normal(99, 7))

        match style:
            case 0:
                for eighth in range(8):
                    play(eighth / 2, 0.45)
            case 1:
                play(0, 3.8)
            case 2:
                for beat in range(4):
                    play(beat, 0.9, int(random.choice((0, 0, 7, 12, 7))))
            case 3:
                for place in pattern:
                    play(place / 4, 0.3, int(random.choice((0, 0, 0, 12))))
            case _:
                for eighth in range(8):
                    play(eighth / 2, 0.4, 12 * (eighth % 2))
    return track


def harmony(song: Song) -> Track:
    """Chords: held, struck, picked or off the beat, by one instrument of one family."""
    random = song.random
    family = str(random.choice(list(FAMILIES)))
    track = Track(int(random.choice(FAMILIES[family])))
    octave = int(random.choice((4, 5, 5) if family == "strings" else (4, 4, 5, 5, 6)))
    style = int(random.choice((0, 0, 5, 1))) if family in ("strings", "pad") else int(random.integers(7))
    pattern = [place for place in range(16) if random.random() < 0.3] or [0]
    loudness, order = random.uniform(70, 110), random.integers(0, 8, 16)
    fifths = family == "guitar" and random.random() < 0.3
    for bar in range(song.bars):
        chord = song.chord(bar, octave)
        if fifths:
            chord = [chord[0] - 12, chord[2] - 12, chord[0]]
        turned = int(random.integers(3)) if random.random() < 0.1 else 0
        chord = [note + 12 if number < turned else note for number, note in enumerate(chord)]

        def play(beat: float, beats: float, note: int, late: float = 0.0, bar: int = bar) -> None:
            track.note(song.time(bar, beat) + late, song.beat * beats, note, random.normal(loudness, 7))

        match style:
            case 0:
                roll = random.uniform(0, 0.02)
                for number, note in enumerate(chord):
                    play(0, 3.95, note, number * roll)
            case 1:
                for beat in range(4):
                    for number, note in enumerate(chord):
                        play(beat, 0.9, note, number * 0.008)
            case 2:
                wide = [*chord, chord[0] + 12]
                for eighth in range(8):
                    play(eighth / 2, 0.48, wide[order[eighth] % len(wide)])
            case 3:
                wide = [*chord, *(note + 12 for note in chord)]
                for place in range(16):
                    play(place / 4, 0.3, wide[order[place] % len(wide)])
            case 4:
                for place in pattern:
                    beats, up = random.uniform(0.15, 0.5), random.random() < 0.6
                    for number, note in enumerate(chord if up else chord[::-1]):
                        play(place / 4, beats, note, number * 0.012)
            case 5:
                for beat in (0, 2):
                    for note in chord:
                        play(beat, 1.95, note)
            case _:
                for beat in range(4):
                    for note in chord:
                        play(beat + 0.5, 0.3, note)
    return track


def breathing(track: Track, random: np.random.Generator, seconds: float) -> None:
    """Swells of loudness (controller 11), as bows and breath give."""
    slow, fast, depth = random.uniform(0.05, 0.2), random.uniform(0.2, 0.6), random.uniform(0.15, 0.5)
    for time in np.arange(0, seconds, 0.05):
        swell = 1 - depth * (0.5 + 0.25 * np.sin(2 * np.pi * slow * time) + 0.25 * np.sin(2 * np.pi * fast * time))
        track.control(11, int(127 * swell), float(time))
