"""Clips of everything but voice: songs, electronic ones, sparse pieces, and passages with leads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.synthesis import effects, midi, parts, solos, synths
from training.synthesis.instruments import SOLOISTS, blown, bowed, electric, plucked, theremin
from training.synthesis.melody import Song
from training.synthesis.mixdown import Stem, mixdown
from training.synthesis.sound import RATE, Mono, Random, Stereo, rms

SYNTHS = (("drums", 0.6), ("bass", 0.5), ("pad", 0.4), ("pluck", 0.4), ("stab", 0.3), ("lead", 0.55))
ELECTRONIC = (
    *(("drums", 0.75), ("bass", 0.75), ("pad", 0.6), ("pluck", 0.6)),
    *(("stab", 0.45), ("lead", 0.7), ("lead", 0.35), ("pluck", 0.3)),
)
"""What may play and how probably."""


def song(random: Random, folder: Path) -> Stereo:
    """A band by sound fonts, at times with synthesisers."""
    music = Song(random)
    tracks = _band(music)
    tracks += [("harmony", parts.harmony(music)) for _ in range(int(random.integers(1, 4)))]
    tracks += [("lead", solos.lead(music)) for _ in range(int(random.choice((0, 1, 2), p=(0.3, 0.5, 0.2))))]
    stems = _rendered(random, folder, tracks)
    if random.random() < 0.45:
        stems += [_synth(music, kind) for kind, chance in SYNTHS if random.random() < chance]
    return mixdown(random, stems)


def electronic(random: Random, folder: Path) -> Stereo:
    """Synthesisers with moving filters, gates, echoes and crushed bits; at times an instrument beside them."""
    music = Song(random)
    stems: list[Stem] = []
    for kind, chance in ELECTRONIC:
        if random.random() < chance or not stems:
            stem = _synth(music, kind)
            if kind != "drums" and random.random() < 0.8:
                played = _electrified(music, stem.sound[0])
                stem = Stem(stem.kind, np.stack([played, played]))
            stems.append(stem)
    if random.random() < 0.4:
        stems += _rendered(random, folder, [("harmony", parts.harmony(music))])
    return mixdown(random, stems)


def sparse(random: Random, folder: Path) -> Stereo:
    """One or two instruments, slow, with air around them: picked ballads, piano, strings, winds."""
    music = Song(random, 50, 120)
    kind = random.random()
    if kind < 0.5:
        stems = _rendered(random, folder, [("solo", track) for track in solos.ballad(music)])
    elif kind < 0.7:
        stems = _rendered(random, folder, [("solo", track) for track in solos.chamber(music)])
    elif kind < 0.85:
        stems = [_mono("solo", plucked(music))]
        if random.random() < 0.4:
            stems.append(_mono("solo", (bowed, blown)[int(random.integers(2))](music)))
    else:
        stems = [_mono("solo", (bowed, blown, electric)[int(random.integers(3))](music))]
        if random.random() < 0.5:
            stems += _rendered(random, folder, [("harmony", parts.harmony(music))])
    return mixdown(random, stems)


def leads(random: Random, folder: Path) -> Stereo:
    """An instrumental passage: a band, and where the singer would be one or two instruments that play a tune."""
    music = Song(random, 60, 150)
    kind = random.random()
    if kind < 0.45:
        tracks = [*_band(music), ("harmony", parts.harmony(music))]
        if random.random() < 0.3:
            tracks.append(("harmony", solos.riff(music)))
        stems = _rendered(random, folder, tracks + [("solo", track) for track in solos.passage(music)])
    else:
        tracks = [*_band(music), ("harmony", parts.harmony(music))]
        stems = _rendered(random, folder, tracks) if kind < 0.85 else []
        soloist = SOLOISTS[int(random.integers(len(SOLOISTS)))] if random.random() < 0.8 else theremin
        stems.append(_mono("solo", soloist(music)))
        if kind >= 0.85 or random.random() < 0.3:
            stems.append(_mono("lead", synths.synth_lead(music)))
    return mixdown(random, stems)


def _band(music: Song) -> list[tuple[str, midi.Track]]:
    tracks = []
    if music.random.random() < 0.75:
        tracks.append(("drums", parts.drums(music)))
    if music.random.random() < 0.75:
        tracks.append(("bass", parts.bass(music)))
    return tracks


def _rendered(random: Random, folder: Path, tracks: list[tuple[str, midi.Track]]) -> list[Stem]:
    sounds = midi.render([track for _, track in tracks], random, folder)
    return [Stem(kind, sound) for (kind, _), sound in zip(tracks, sounds, strict=True)]


def _synth(music: Song, kind: str) -> Stem:
    match kind:
        case "drums":
            return _mono("drums", synths.drum_machine(music))
        case "lead":
            return _mono("lead", synths.synth_lead(music))
    return _mono("bass" if kind == "bass" else "synth", synths.synth_stem(music, kind))


def _mono(kind: str, sound: Mono) -> Stem:
    return Stem(kind, np.stack([sound, sound]))


def _electrified(music: Song, sound: Mono) -> Mono:
    random = music.random
    if random.random() < 0.5:
        sound = effects.sweep(sound, random, music.beat)
    if random.random() < 0.3:
        sound = effects.gate(sound, random, music.beat)
    if random.random() < 0.4:
        sound = effects.echo(sound, music.beat * float(random.choice((0.5, 0.75, 1))), random.uniform(0.3, 0.6))
    if random.random() < 0.15:  # ring modulation
        turning = np.sin(2 * np.pi * random.uniform(30, 400) * np.arange(len(sound)) / RATE)
        sound = 0.7 * sound * turning + 0.3 * sound
    if random.random() < 0.2:
        sound = effects.crush(sound)
    if random.random() < 0.3 and rms(sound) > 1e-5:
        sound = effects.saturate(sound, random.uniform(1, 8))
    return sound
