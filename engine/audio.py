"""The one value that every part of the engine passes around: samples and their rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""Shape (frames, channels), float32, full scale = 1.0."""


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """What demuxing every packet of a file found; headers are not believed.

    `seconds` is counted from packets, `declared_seconds` is the header's word (None when it has none).
    """

    container: str
    codec: str
    rate: int
    channels: int
    seconds: float
    declared_seconds: float | None
