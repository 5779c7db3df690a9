"""ONNX Runtime: the portable default on CPUs, and the way to an NVIDIA GPU where its CUDA build is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import EngineError, RuntimeUnavailable
from engine.runtimes.base import Precision, RuntimeInfo, Tensor, is_quantised

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
CUDA_LIBRARIES = ("libonnxruntime_providers_cuda.so", "onnxruntime_providers_cuda.dll")
NVIDIA_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
CUDA_OPTIONS = {
    # Grow by what is asked for, not to the next power of two: a GPU is shared by several workers.
    "arena_extend_strategy": "kSameAsRequested",
    # Each shape is searched once, at the first run, and always the same shapes come (`MicroBatcher`'s buckets).
    "cudnn_conv_algo_search": "EXHAUSTIVE",
    "cudnn_conv_use_max_workspace": "1",
    # TF32 keeps 10 bits of a product's mantissa: 60 dB, where f32 is promised.
    "use_tf32": "0",
}

Provider = str | tuple[str, dict[str, str]]


class OnnxSession:
    """One loaded graph; ONNX Runtime allows `run` from several threads at once."""

    def __init__(self, session: onnxruntime.InferenceSession, info: RuntimeInfo) -> None:
        self._session: Any = session
        self._info = info
        self._outputs = [output.name for output in session.get_outputs()]

    @property
    def info(self) -> RuntimeInfo:
        return self._info

    def run(self, inputs: Mapping[str, Tensor]) -> Sequence[Tensor]:
        session = self._session
        if session is None:
            raise EngineError("The graph was closed before this run.")
        outputs: Sequence[Tensor] = session.run(self._outputs, dict(inputs))
        return outputs

    def close(self) -> None:
        self._session = None


class OnnxRuntime:
    """`device`: `cpu`; `cuda`, which fails where CUDA does; `auto`, which then takes the CPU (see the receipt)."""

    name = "onnxruntime"

    def __init__(self, device: Literal["auto", "cpu", "cuda"] = "cpu") -> None:
        self._device = device

    def available(self) -> bool:
        return package() is not None and (self._device != "cuda" or cuda_installed())

    def load(
        self,
        graph: Path,
        *,
        threads: int,
        precision: Precision | Literal["auto"] = "auto",
        shape: Mapping[str, tuple[int, ...]] | None = None,
    ) -> OnnxSession:
        """`auto` is f32, the only precision for a graph that is not quantised. `shape` changes nothing.

        Raises RuntimeUnavailable when the package, or CUDA, is not installed or does not start.
        """
        if package() is None:
            raise RuntimeUnavailable("The runtime onnxruntime is not installed.")
        if not self.available():
            raise RuntimeUnavailable("There is no CUDA for ONNX Runtime here: it takes onnxruntime-gpu and a GPU.")
        used = _precision(graph, precision)
        import onnxruntime

        wanted = providers(self._device)
        session = onnxruntime.InferenceSession(graph, session_options(onnxruntime, threads), providers=wanted)
        device = session.get_providers()[0]
        if self._device == "cuda" and device != CUDA:
            raise RuntimeUnavailable("ONNX Runtime has its CUDA build here, but CUDA or cuDNN did not start.")
        info = RuntimeInfo(self.name, onnxruntime.__version__, device, used, threads)
        return OnnxSession(session, info)


def package() -> Path | None:
    """Where the package lies, or None; found without importing it."""
    spec = importlib.util.find_spec("onnxruntime")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def cuda_installed() -> bool:
    """Whether the package has the CUDA provider and the machine an NVIDIA GPU, told by their files alone."""
    folder = package()
    built = folder is not None and any((folder / "capi" / library).exists() for library in CUDA_LIBRARIES)
    return built and any(device.exists() for device in NVIDIA_DEVICES)


def providers(device: Literal["auto", "cpu", "cuda"]) -> list[Provider]:
    """What ONNX Runtime shall try, in this order."""
    if device == "cuda" or (device == "auto" and cuda_installed()):
        return [(CUDA, dict(CUDA_OPTIONS)), CPU]
    return [CPU]


def session_options(onnxruntime: Any, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # The arena keeps its buffers between runs: an eighth less CPU time than asking the system for each
    # again, and a peak that stays the same, since models run in chunks of one size.
    options.enable_mem_pattern = False  # plans memory per shape; the last chunk of every song has its own
    # Spinning threads would take the processor from the decoder and the transforms that run beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


def _precision(graph: Path, asked: Precision | Literal["auto"]) -> Precision:
    quantised = is_quantised(graph)
    if asked not in ("auto", "int8" if quantised else "f32"):
        kind = "a quantised graph in int8" if quantised else "this graph in f32"
        raise RuntimeUnavailable(f"ONNX Runtime runs {kind}, not in {asked}.")
    return "int8" if quantised else "f32"
