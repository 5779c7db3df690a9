"""How a graph is run, apart from what its numbers mean (that is `engine.models`)."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Tensor = NDArray[np.float32]
Precision = Literal["f32", "bf16", "f16", "int8"]
"""What the numbers between the layers are rounded to. Inputs and outputs are float32 in every case."""


@dataclass(frozen=True, slots=True)
class RuntimeInfo:
    """What ran, for the receipt: `onnxruntime 1.31.1`, `CPUExecutionProvider`, `f32`, 2 threads."""

    name: str
    version: str
    device: str
    precision: str
    threads: int


class Session(Protocol):
    """One loaded graph. `run` may be called from several threads; what it returns is the caller's own."""

    @property
    def info(self) -> RuntimeInfo: ...

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        """Graph inputs by name → outputs in the graph's order."""
        ...

    def close(self) -> None:
        """Let go of the graph, after the runs that are under way. Running it afterwards is an EngineError."""
        ...


class Runtime(Protocol):
    """One way to run ONNX graphs. Heavy packages are imported in `load`, never at import."""

    name: str

    def available(self) -> bool:
        """Whether its package is installed here; must not import it."""
        ...

    def load(
        self,
        graph: Path,
        *,
        threads: int,
        precision: Precision | Literal["auto"] = "auto",
        shape: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Session:
        """`auto` is the fastest precision that the device has of its own, and exact enough for stems.

        `shape` gives the shapes of inputs that are the same at every run, which a runtime may plan for.
        Raises RuntimeUnavailable when it is not installed here or can't compute in `precision`.
        """
        ...


def is_quantised(graph: Path) -> bool:
    """Whether an ONNX file quantises between its layers. Only such a graph can run as `int8`, whatever the runtime."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"QuantizeLinear") >= 0
