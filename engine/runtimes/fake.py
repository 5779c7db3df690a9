"""A runtime that computes nothing, for tests: slow, jittery, failing or crashing as it is told.

Its session stands in for any model's: every output has the shape of the first input and one value throughout,
so a mask of 0.5 gives each stem half of the song.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from engine.errors import EngineError
from engine.runtimes.base import Precision, RuntimeInfo, Tensor


class FakeFailure(EngineError):
    """A failure that a test asked for."""

    code = "fake_failure"
    advice = "This runtime is for tests: set the runtime to `auto`."
    transient = True


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Seconds of a run: `delay_seconds`, plus up to `jitter_seconds` by `seed`, the first `warmup_seconds` more."""

    outputs: int = 2
    value: float = 0.5
    delay_seconds: float = 0.0
    jitter_seconds: float = 0.0
    warmup_seconds: float = 0.0
    seed: int = 0
    fail_every: int = 0
    """Every so many-th run raises FakeFailure; 0 for none."""
    crash_at: int = 0
    """The run, counted from 1, at which the process kills itself as the system would; 0 for none."""


class FakeSession:
    def __init__(self, behaviour: Behaviour, info: RuntimeInfo) -> None:
        self._behaviour = behaviour
        self._info = info
        self._random = random.Random(behaviour.seed)
        self._lock = threading.Lock()
        self._runs = 0
        self._closed = False

    @property
    def info(self) -> RuntimeInfo:
        return self._info

    @property
    def runs(self) -> int:
        """How many runs have begun, failed ones among them."""
        return self._runs

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        if self._closed:
            raise EngineError("The graph was closed before this run.")
        asked = self._behaviour
        with self._lock:
            self._runs += 1
            number = self._runs
            seconds = asked.delay_seconds + asked.jitter_seconds * self._random.random()
        time.sleep(seconds + (asked.warmup_seconds if number == 1 else 0))
        if number == asked.crash_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if asked.fail_every and number % asked.fail_every == 0:
            raise FakeFailure(f"Run {number} fails, as the test asked.")
        shape = next(iter(inputs.values())).shape
        return [np.full(shape, asked.value, np.float32) for _ in range(asked.outputs)]

    def close(self) -> None:
        self._closed = True


class FakeRuntime:
    """`choose` never gives it: a test hands it over."""

    name = "fake"

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self._behaviour = behaviour or Behaviour()

    def available(self) -> bool:
        return True

    def load(
        self,
        graph: Path,
        *,
        threads: int,
        precision: Precision | Literal["auto"] = "auto",
        shape: Mapping[str, tuple[int, ...]] | None = None,
    ) -> FakeSession:
        """`graph` need not exist."""
        used = "f32" if precision == "auto" else precision
        return FakeSession(self._behaviour, RuntimeInfo(self.name, "1", "nothing", used, threads))
