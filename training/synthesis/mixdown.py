"""Stems of one accompaniment → its mix: every stem through effects of its kind, to a level of its kind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.synthesis import effects
from training.synthesis.sound import LENGTH, Mono, Random, Stereo, decibels, levelled, rms

LEVELS = {
    "drums": (-2, 4),
    "bass": (-4, 3),
    "harmony": (-9, 1),
    "synth": (-9, 0),
    "lead": (-6, 3),
    "solo": (-3, 5),
}
"""dB, the range that a kind's level is drawn from."""


@dataclass(frozen=True, slots=True)
class Stem:
    kind: str
    sound: Stereo


def mixdown(random: Random, stems: list[Stem]) -> Stereo:
    """(2, LENGTH) at LEVEL. One stem in seven stays out, so that two mixes of the same stems differ."""
    heard = [stem for stem in stems if rms(stem.sound) > 1e-5 and random.random() < 0.86]
    mix = np.zeros((2, LENGTH))
    for stem in heard or stems:
        mix = mix + _treated(random, stem)
    if random.random() < 0.6:
        mix = effects.compress(mix, random, rms(mix) * random.uniform(0.8, 2))
    if random.random() < 0.3:
        mix = effects.saturate(mix, random.uniform(0.5, 3))
    return levelled(mix)


def _treated(random: Random, stem: Stem) -> Stereo:
    sound = stem.sound / rms(stem.sound) * 0.1
    if random.random() < 0.6:
        sound = effects.equalise(sound, random, 7)
    melodic = stem.kind in ("harmony", "lead", "solo")
    if melodic and random.random() < 0.2:  # as of a guitar amplifier
        sound = np.tanh(sound / 0.1 * 10 ** random.uniform(0.3, 1.7)) * 0.1
        sound = effects.band_pass(sound, 90, random.uniform(3000, 7000))
    sound = _placed(random, stem.kind, sound)
    if melodic and random.random() < 0.12:
        sound = effects.chorus(sound, random)
    if stem.kind != "bass" and random.random() < 0.55:
        sound = effects.reverb(sound, random, decibels(random.uniform(-22, -4)))
    if random.random() < 0.5:
        sound = effects.compress(sound, random)
    return sound / rms(sound) * 0.1 * decibels(random.uniform(*LEVELS[stem.kind]))


def _placed(random: Random, kind: str, sound: Stereo) -> Stereo:
    middle: Mono = sound.mean(0)
    if kind == "bass":
        return effects.pan(middle, random.normal(0, 0.04))
    if kind == "drums":
        return sound if random.random() < 0.7 else effects.pan(middle, 0)
    # Leads stand where a singer would, or anything that sits in the middle would be voice.
    if kind in ("lead", "solo") and random.random() < 0.6:
        return effects.pan(middle, random.normal(0, 0.12))
    return effects.widen(sound, random)
