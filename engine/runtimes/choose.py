"""Which runtime runs the graphs: the one that is named, or the fastest one here."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping

from engine.errors import RuntimeUnavailable
from engine.runtimes.base import Runtime
from engine.runtimes.kserve import KserveRuntime
from engine.runtimes.onnx import OnnxRuntime, cuda_installed
from engine.runtimes.openvino import OpenVinoRuntime

X86 = {"x86_64", "amd64"}
INSTALL: Mapping[str, str] = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install onnxruntime",
    "onnxruntime_cuda": "pip install onnxruntime-gpu, on a machine with an NVIDIA GPU",
    "kserve": "name the server's address",
}


def choose(name: str = "auto", *, server_url: str | None = None) -> Runtime:
    """`auto`: a GPU where ONNX Runtime has one, else OpenVINO on x86, else ONNX Runtime on the CPU. OpenVINO is
    started for it, since being installed is not enough: its libraries want a system that is new enough.

    `server_url` is where `kserve` finds its server.
    Raises RuntimeUnavailable, which says what there is and how to install what there is not.
    """
    makers = _makers(server_url)
    if name == "auto":
        return _fastest(makers)
    runtime = makers[name]() if name in makers else None
    if runtime is not None and runtime.available():
        return runtime
    here = ", ".join(known for known, make in makers.items() if make().available()) or "none"
    if runtime is None:
        raise RuntimeUnavailable(f"There is no runtime {name!r} for graphs; here are: {here}.")
    raise RuntimeUnavailable(f"The runtime {name!r} is not here ({INSTALL[name]}); here are: {here}.")


def _fastest(makers: Mapping[str, Callable[[], Runtime]]) -> Runtime:
    openvino = OpenVinoRuntime()
    if cuda_installed():
        return OnnxRuntime("auto")
    if platform.machine().lower() in X86 and openvino.available() and openvino.starts():
        return openvino
    if makers["onnxruntime"]().available():
        return makers["onnxruntime"]()
    raise RuntimeUnavailable(f"There is no runtime for graphs here: {INSTALL['onnxruntime']}.")


def _makers(server_url: str | None) -> dict[str, Callable[[], Runtime]]:
    return {
        "openvino": OpenVinoRuntime,
        "onnxruntime": OnnxRuntime,
        "onnxruntime_cuda": lambda: OnnxRuntime("cuda"),
        "kserve": lambda: KserveRuntime(server_url or None),
    }
