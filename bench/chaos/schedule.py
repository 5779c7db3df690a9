"""What is broken, and when: drawn from the seed before anything starts, so that a seed gives the same schedule."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Target = Literal["worker", "decoder", "api"]
Outage = Literal["flush", "redis", "postgres", "disk", "zombie", "rolling"]

KILLS_LONG = {"decode": 25, "network": 25, "write": 25, "commit": 27, "store": 12, "claim": 8, "": 8}
KILLS_SHORT = {"decode": 2, "network": 2, "write": 2, "commit": 3, "store": 1, "": 1}
"""Of workers, by stage; "" is wherever it happens to be."""
OTHERS_LONG: dict[Target, int] = {"decoder": 40, "api": 35}
OTHERS_SHORT: dict[Target, int] = {"decoder": 3, "api": 2}
ROUND: tuple[Outage, ...] = ("flush", "redis", "postgres", "disk", "zombie", "rolling", "postgres", "zombie")
MODES: dict[Outage, tuple[str, ...]] = {"postgres": ("fast", "immediate"), "zombie": ("commit", "network")}
KINDS = tuple(f"{what} {mode}".strip() for what in dict.fromkeys(ROUND) for mode in MODES.get(what, ("",)))
"""Of outages: each of them is in every round."""
COMMIT_POINTS = ("before", "inside", "after")
DATABASE_AWAY, BROKER_AWAY = 30.0, 60.0
"""Seconds, once in a long run."""


@dataclass(frozen=True, slots=True)
class Kill:
    target: Target
    stage: str
    point: str
    pause: float
    """Seconds before it."""
    restart_after: float


@dataclass(frozen=True, slots=True)
class Break:
    what: Outage
    mode: str
    """Of PostgreSQL's end; of a zombie, the stage at which it stops."""
    pause: float
    seconds: float

    @property
    def kind(self) -> str:
        return f"{self.what} {self.mode}".strip()


@dataclass(frozen=True, slots=True)
class Schedule:
    kills: tuple[Kill, ...]
    breaks: tuple[Break, ...]


def draw(seed: int, seconds: float, lease: float, *, long: bool) -> Schedule:
    """`seconds` is how long all of it should take."""
    rng = random.Random(seed)
    kills = list(_kills(rng, long))
    rng.shuffle(kills)
    pause = 0.5 * seconds / len(kills)  # the other half goes by while stages are waited for
    spaced = tuple(
        Kill(
            target,
            stage,
            point,
            rng.uniform(0, 2 * pause),
            # Mostly back before its lease ends; now and then others have to notice.
            rng.uniform(lease, 2 * lease) if rng.random() < 0.2 else rng.uniform(0.1, 1.0),
        )
        for target, stage, point in kills
    )
    return Schedule(spaced, tuple(_breaks(rng, seconds, lease, long)))


def _kills(rng: random.Random, long: bool) -> Iterator[tuple[Target, str, str]]:
    for stage, count in (KILLS_LONG if long else KILLS_SHORT).items():
        for number in range(count):
            yield "worker", stage, COMMIT_POINTS[number % 3] if stage == "commit" else ""
    for target, count in (OTHERS_LONG if long else OTHERS_SHORT).items():
        for _ in range(count):
            yield target, "", ""


def _breaks(rng: random.Random, seconds: float, lease: float, long: bool) -> Iterator[Break]:
    rounds = max(1, round(seconds / 240)) if long else 1
    pause = 0.4 * seconds / (rounds * len(ROUND))
    for number in range(rounds):
        order = list(ROUND)
        rng.shuffle(order)
        seen = {what: rng.randrange(2) for what in MODES}
        for what in order:
            mode, lasts = "", rng.uniform(1, 3)
            if what in seen:
                mode = MODES[what][seen[what] % 2]
                seen[what] += 1
            if what == "zombie":
                lasts = lease + rng.uniform(1, 3)
            if long and number == 0:
                lasts = {"redis": BROKER_AWAY, "postgres": DATABASE_AWAY}.get(what, lasts)
            yield Break(what, mode, rng.uniform(0.5, 1.5) * pause, lasts)
