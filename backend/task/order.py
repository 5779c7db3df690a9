"""What is asked for, and what it becomes for one model and one song."""

from __future__ import annotations

from dataclasses import dataclass

from backend.catalog.service import StemChoice, kept_stems
from backend.problem import Problem
from backend.task.options import Options
from engine.catalog import ModelSpec
from engine.formats import OutputFormat, make_format
from engine.models.base import HighFrequencies

SHORTEST_SECONDS = 0.1
"""Of a part of a song. Less is a mistake, or finds nothing where decoding ends a little before the count."""


class PartOutsideSong(Problem):
    status = 422
    code = "part_outside_song"
    advice = "GET /api/v1/uploads tells how long your songs are; start earlier."
    field = "start"


@dataclass(frozen=True, slots=True)
class Order:
    """`model` and `stems` None: the service's choice and all it gives. Seconds; `duration` None: to the end."""

    model: str | None = None
    stems: StemChoice = None
    format: OutputFormat | None = None
    start: float = 0.0
    duration: float | None = None
    high_frequencies: HighFrequencies = "mixture"
    gain_db: float = 0.0
    webhook: str | None = None
    """Where these tasks alone are told; a URL that was checked."""
    webhook_secret: str | None = None
    """None: one is made."""

    def options(self, spec: ModelSpec, song_name: str, song_seconds: float) -> Options:
        """Bounded by the song: a part that would go past its end ends there. Raises PartOutsideSong, StemsUnknown."""
        left = song_seconds - self.start
        if self.start and left < SHORTEST_SECONDS:
            raise PartOutsideSong(
                f"{song_name!r} is {song_seconds:.2f} s long: there is nothing to separate from {self.start:.2f} s on."
            )
        return Options(
            stems=kept_stems(spec, self.stems),
            format=self.format or make_format("wav"),
            start=self.start,
            duration=None if self.duration is None or self.duration >= left else self.duration,
            high_frequencies=self.high_frequencies,
            gain_db=self.gain_db,
        )
