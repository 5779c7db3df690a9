"""How long each stage of a separation was at work; stages overlap, so they don't add up to the total."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal["probe", "decode", "spectra", "network", "inverse", "write"]


class Stages:
    """Wall-clock seconds by stage. Each stage is timed by one thread."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - began
