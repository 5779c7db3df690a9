"""How a graph is run, apart from what its numbers mean (that is `engine.models`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What ran, for the receipt: `onnxruntime 1.31.1`, `CPUExecutionProvider`, `f32`, 2 threads."""

    name: str
    version: str
    device: str
    precision: str
    threads: int


class Session(Protocol):
    """One loaded graph. `run` may be called from several threads."""

    @property
    def info(self) -> RuntimeInfo: ...

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Graph inputs by name → outputs in the graph's order."""
        ...

    def close(self) -> None: ...


class Runtime(Protocol):
    """One way to run ONNX graphs. Heavy packages are imported in `load`, never at import."""

    name: str

    def available(self) -> bool:
        """Whether its package is installed here; must not import it."""
        ...

    def load(self, graph: Path, *, threads: int) -> Session: ...
