"""Separating a sample before the first real song comes, so that this one doesn't pay for first times."""

from __future__ import annotations

import time
from pathlib import Path

from engine.audio_io import DecodeLimits, warm_decoder
from engine.models.base import Separator
from engine.separate import separate
from engine.sink import NullSink


def warm(separator: Separator, sample: Path, limits: DecodeLimits) -> float:
    """Separate `sample` into nothing and keep a decoder ready; returns the seconds it took.

    Raises what `separate` raises.
    """
    began = time.monotonic()
    warm_decoder()
    separate(sample, separator, NullSink(), limits=limits)
    return time.monotonic() - began
