"""How long each stage of a separation was at work; stages overlap, so they don't add up to the total."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

Stage = Literal["probe", "decode", "spectra", "network", "inverse", "kept", "write"]
"""`kept`: fetching, instead of the three before it, patches that were separated earlier, and waiting for them."""


class Stages:
    """Wall-clock seconds by stage. Each stage is timed by one thread."""

    def __init__(self) -> None:
        self.seconds: dict[Stage, float] = {}
        self.extents: dict[Stage, tuple[float, float]] = {}
        """When it began first and ended last, by `time.perf_counter`."""

    @contextmanager
    def timing(self, stage: Stage) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            ended = time.perf_counter()
            self.seconds[stage] = self.seconds.get(stage, 0.0) + ended - began
            self.extents[stage] = self.extents.get(stage, (began, ended))[0], ended
