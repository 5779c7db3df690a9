"""How fast a run learns at each step, and how many steps fit into the time there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

FLOOR = 0.01
"""Share of the highest rate at the end."""
TELLING = 3
"""After so many steps of a process their time says something."""


def rate(step: int, total: int, warm_up: int, highest: float) -> float:
    """A straight rise over `warm_up` steps, then half a cosine down to FLOOR at `total`."""
    if step < warm_up:
        return highest * (step + 1) / warm_up
    done = min(1.0, (step - warm_up) / max(1, total - warm_up))
    return highest * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


def strictness(step: int, total: int) -> float:
    """Share of the weight that leakage into silence has in the loss: none in the first third, then rising to 1 at two
    thirds. A network that can't tell voices yet would learn that silence is always right, and never come back."""
    return min(1.0, max(0.0, 3 * step / max(1, total) - 1))


def keep(step: int, longest: float = 0.999) -> float:
    """Share of the moving mean that stays at each step: few steps at first, up to a thousand."""
    return min(longest, (step + 1) / (step + 20))


@dataclass
class Budget:
    """`total` is given, or follows from `seconds` by how long steps take; it is then estimated anew while it runs."""

    total: int
    seconds: float | None = None
    measured: float = 0.0
    """Seconds a step lately, 0 before the first."""
    seen: int = 0
    """Steps of this process."""

    def spend(self, step: int, step_seconds: float, spent: float) -> None:
        """After `step` steps and `spent` seconds in all, the last step having taken `step_seconds`."""
        # A process's first step is slow, and tells nothing: the second one's time replaces it.
        self.measured += max(0.02, 1 / max(1, self.seen)) * (step_seconds - self.measured)
        self.seen += 1
        if self.seconds is not None and self.seen > TELLING:
            self.total = step + max(0, math.floor((self.seconds - spent) / max(self.measured, 1e-6)))

    def over(self, step: int, spent: float) -> bool:
        return step >= self.total if self.seconds is None else spent >= self.seconds

    def left(self, step: int, spent: float) -> float:
        """Seconds."""
        return (self.total - step) * self.measured if self.seconds is None else max(0.0, self.seconds - spent)
