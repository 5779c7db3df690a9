"""How a song is to be separated and what is to be kept: frozen in the step at submit, read by the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.formats import OutputFormat, make_format
from engine.models.base import HighFrequencies


@dataclass(frozen=True, slots=True)
class Options:
    stems: tuple[str, ...]
    """Those that are stored; the model makes all of its own."""
    format: OutputFormat
    start: float = 0.0
    """Seconds into the song."""
    duration: float | None = None
    """Seconds; None is to the song's end."""
    high_frequencies: HighFrequencies = "mixture"
    gain_db: float = 0.0

    def seconds_of(self, song_seconds: float) -> float:
        """How much of a song is separated, and paid for."""
        if self.duration is not None:
            return self.duration
        return round(song_seconds - self.start, 6) if self.start else song_seconds

    def to_row(self) -> dict[str, Any]:
        return {
            "stems": list(self.stems),
            "format": self.format.container,
            "bit_depth": self.format.bit_depth,
            "bit_rate": self.format.bit_rate,
            "start": self.start,
            "duration": self.duration,
            "high_frequencies": self.high_frequencies,
            "gain_db": self.gain_db,
        }


def from_row(row: Mapping[str, Any], model_stems: Sequence[str]) -> Options:
    """Of a step. What an older row does not say is as it was then: every stem, WAV, the whole song."""
    container = row.get("format", "wav")
    return Options(
        stems=tuple(row.get("stems", model_stems)),
        format=make_format(container, bit_depth=row.get("bit_depth"), bit_rate=row.get("bit_rate")),
        start=row.get("start", 0.0),
        duration=row.get("duration"),
        high_frequencies=row.get("high_frequencies", "mixture"),
        gain_db=row.get("gain_db", 0.0),
    )
