"""ONNX Runtime on the CPU: the portable default."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import RuntimeUnavailable
from engine.runtimes.base import RuntimeInfo, Tensor

if TYPE_CHECKING:
    import onnxruntime


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
        outputs: Sequence[Tensor] = self._session.run(self._outputs, dict(inputs))
        return outputs

    def close(self) -> None:
        self._session = None


class OnnxRuntime:
    name = "onnxruntime"

    def available(self) -> bool:
        return importlib.util.find_spec("onnxruntime") is not None

    def load(self, graph: Path, *, threads: int) -> OnnxSession:
        """Raises RuntimeUnavailable when the package is not installed."""
        if not self.available():
            raise RuntimeUnavailable("The runtime onnxruntime is not installed.")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # The arena keeps its buffers between runs: an eighth less CPU time than asking the system for each
        # again, and a peak that stays the same, since models run in chunks of one size.
        options.enable_mem_pattern = False  # plans memory per shape; the last chunk of every song has its own
        # Spinning threads would take the processor from the decoder and the transforms that run beside.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        device = session.get_providers()[0]
        info = RuntimeInfo(self.name, onnxruntime.__version__, device, "f32", threads)
        return OnnxSession(session, info)
