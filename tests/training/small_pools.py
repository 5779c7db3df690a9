"""Pools that are made in no time: buzzing voices over noise, no programs needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.pools import Pool, fill
from training.recipes import Recipe
from training.synthesis.sound import LENGTH, RATE, Random, Stereo


def buzz(random: Random, folder: Path) -> Stereo:
    """A trembling tone in the middle, with pauses."""
    time = np.arange(LENGTH) / RATE
    pitch = random.uniform(150, 400)
    tone = sum((np.sin(2 * np.pi * pitch * n * time + np.sin(30 * time)) / n for n in range(1, 6)), np.zeros(LENGTH))
    on = np.repeat(random.random(48) < 0.7, LENGTH // 48 + 1)[:LENGTH]
    return np.stack([tone * on * 0.1] * 2)


def hiss(random: Random, folder: Path) -> Stereo:
    return random.normal(0, 0.08, (2, LENGTH))


VOICE = Recipe("vocals", "voice", buzz, 3, 1)
BAND = Recipe("song", "band", hiss, 3, 3)


def small_pools(folder: Path, clips: int = 3) -> dict[str, Pool]:
    return {recipe.kind: fill(folder, recipe, clips)[0] for recipe in (VOICE, BAND)}
