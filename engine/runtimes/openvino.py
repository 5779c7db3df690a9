"""OpenVINO on the CPU: the fastest way on x86, in the precision that the processor has instructions for."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.errors import EngineError, RuntimeUnavailable
from engine.runtimes.base import Precision, RuntimeInfo, Tensor, is_quantised

DEVICE = "CPU"
CAPABILITIES: Mapping[Precision, str] = {"f32": "FP32", "bf16": "BF16", "f16": "FP16", "int8": "INT8"}
"""OpenVINO's names in OPTIMIZATION_CAPABILITIES."""

log = logging.getLogger(__name__)

_importing = threading.Lock()


class OpenVinoSession:
    """One compiled graph with one infer request. One run uses all its threads, so callers go one by one."""

    def __init__(self, compiled: Any, info: RuntimeInfo) -> None:
        self._request: Any = compiled.create_infer_request()
        self._outputs = [tuple(port.shape) if port.partial_shape.is_static else None for port in compiled.outputs]
        self._info = info
        self._lock = threading.Lock()

    @property
    def info(self) -> RuntimeInfo:
        return self._info

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        openvino = package()
        with self._lock:
            if self._request is None:
                raise EngineError("The graph was closed before this run.")
            # Where shapes are known the network writes into arrays that are the caller's from the start.
            results = [None if shape is None else np.empty(shape, np.float32) for shape in self._outputs]
            for number, result in enumerate(results):
                if result is not None:
                    self._request.set_output_tensor(number, openvino.Tensor(result, shared_memory=True))
            try:
                self._request.infer(dict(inputs), share_inputs=True, share_outputs=True)
            except (RuntimeError, ValueError) as error:
                raise EngineError(f"OpenVINO refuses its inputs or failed: {last_line(error)}") from error
            return [
                self._request.get_output_tensor(number).data.copy() if result is None else result
                for number, result in enumerate(results)
            ]

    def close(self) -> None:
        with self._lock:
            self._request = None


class OpenVinoRuntime:
    name = "openvino"

    def available(self) -> bool:
        return importlib.util.find_spec("openvino") is not None

    def starts(self) -> bool:
        """Whether it can be imported and begins here, too: it is done, and takes its time."""
        try:
            _core()
        except RuntimeUnavailable as error:
            log.warning("%s", error)
            return False
        return True

    def load(
        self,
        graph: Path,
        *,
        threads: int,
        precision: Precision | Literal["auto"] = "auto",
        shape: Mapping[str, tuple[int, ...]] | None = None,
    ) -> OpenVinoSession:
        """`auto` is int8 for a quantised graph, else bf16 on processors that compute in it, else f32.

        With `shape` runs take less time and memory, and other shapes are refused.
        Raises RuntimeUnavailable when the package is not installed or does not start, or the processor lacks
        the precision.
        """
        if not self.available():
            raise RuntimeUnavailable("The runtime openvino is not installed.")
        openvino, core = package(), _core()
        capabilities = core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES")
        used = _precision(graph, precision, capabilities)
        # What is not quantised in a quantised graph may as well be in the fastest precision.
        hint = used if used != "int8" else "bf16" if "BF16" in capabilities else "f32"
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": hint,
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned threads are no faster, and those of two processes would be pinned to the same cores.
            "ENABLE_CPU_PINNING": False,
        }
        # No CACHE_DIR: compiling Spleeter's graph takes a third of a second, loading it compiled hardly less.
        model = core.read_model(graph)
        if shape:
            model.reshape({name: list(sizes) for name, sizes in shape.items()})
        compiled = core.compile_model(model, DEVICE, settings)
        version = str(openvino.get_version()).split("-")[0]
        return OpenVinoSession(compiled, RuntimeInfo(self.name, version, DEVICE, used, threads))


@functools.cache
def package() -> Any:
    """The package without its model converter, whose import alone sends a usage report over the network.

    Raises RuntimeUnavailable where its libraries don't load.
    """
    with _importing:
        converter = "openvino.tools.ovc"
        blocked = "openvino" not in sys.modules
        if blocked:
            sys.modules[converter] = None  # type: ignore[assignment]  # Python's way to say: not installed
        try:
            import openvino
        except (ImportError, OSError) as error:
            raise RuntimeUnavailable(f"The runtime openvino is installed, but does not start: {error}.") from error
        finally:
            if blocked:
                del sys.modules[converter]
    return openvino


def last_line(error: Exception) -> str:
    """What OpenVINO's messages say after the places in its source that they went through."""
    return str(error).strip().splitlines()[-1][:300] if str(error).strip() else type(error).__name__


@functools.cache
def _core() -> Any:
    openvino = package()
    try:
        return openvino.Core()
    except RuntimeError as error:
        raise RuntimeUnavailable(f"The runtime openvino does not start: {last_line(error)}.") from error


def _precision(graph: Path, asked: Precision | Literal["auto"], capabilities: Sequence[str]) -> Precision:
    quantised = is_quantised(graph)
    if asked == "auto":
        return "int8" if quantised else "bf16" if "BF16" in capabilities else "f32"
    if asked == "int8" and not quantised:
        raise RuntimeUnavailable("This graph is not quantised: it can't run in int8.")
    if CAPABILITIES[asked] not in capabilities:
        raise RuntimeUnavailable(f"This processor does not compute in {asked}; it has {', '.join(capabilities)}.")
    return asked
