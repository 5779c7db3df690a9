"""Every kind of clip: who makes it, how many of them, and what the pool's hash is made of."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.synthesis import accompaniment, vocals
from training.synthesis.sound import RATE, SECONDS, Random, Stereo

Side = Literal["voice", "band"]


@dataclass(frozen=True, slots=True)
class Recipe:
    kind: str
    side: Side
    make: Callable[[Random, Path], Stereo]
    """(random, a folder for files of its own) → (2, LENGTH), within ±1."""
    clips: int
    """So many of 24 s by default."""
    number: int
    """Part of every clip's seed: two kinds never share their randomness."""


RECIPES = {
    recipe.kind: recipe
    for recipe in (
        Recipe("vocals", "voice", vocals.vocals, 720, 1),
        Recipe("choir", "voice", vocals.choir, 40, 2),
        Recipe("song", "band", accompaniment.song, 640, 3),
        Recipe("electronic", "band", accompaniment.electronic, 240, 4),
        Recipe("sparse", "band", accompaniment.sparse, 300, 5),
        Recipe("leads", "band", accompaniment.leads, 300, 6),
    )
}


@functools.cache
def recipe_hash(kind: str, seed: int) -> str:
    """Of everything that decides what a clip is, the programs' versions apart: the source of `synthesis`, the seed
    and the format. Another hash means other sounds."""
    digest = hashlib.sha256(json.dumps([kind, seed, SECONDS, RATE]).encode())
    for source in sorted((Path(__file__).parent / "synthesis").glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()
