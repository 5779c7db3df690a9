"""What of a machine decides how floating point is rounded on it: libraries choose their code by the processor."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from engine.runtimes.onnx import CUDA

CPU_FIELDS = ("vendor_id", "cpu family", "model", "CPU implementer", "CPU part")
FLAG_FIELDS = ("flags", "Features")
CALCULATING = ("sse", "ssse", "avx", "fma", "f16c", "amx", "asimd", "sve", "bf16", "i8mm")
"""How the names of instructions begin that calculate; other flags come and go with the system's kernel."""


@functools.cache
def identity(device: str) -> list[str]:
    """The processor's kind, its instructions for calculating and the C library; with CUDA the GPUs and their driver."""
    found = [platform.machine(), *platform.libc_ver(), *_processor(_text(Path("/proc/cpuinfo")))]
    if device == CUDA:
        driver = Path("/proc/driver/nvidia")
        cards = {line for card in driver.glob("gpus/*/information") for line in _text(card).splitlines()[:1]}
        found += [_text(driver / "version").partition("\n")[0], *sorted(cards)]
    return found


def _processor(cpuinfo: str) -> list[str]:
    """From Linux's /proc/cpuinfo, of its first processor; empty elsewhere."""
    fields = {}
    for line in cpuinfo.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        fields[name.strip()] = value.strip()
    flags = {flag for name in FLAG_FIELDS for flag in fields.get(name, "").split() if flag.startswith(CALCULATING)}
    return [*(f"{name} {fields[name]}" for name in CPU_FIELDS if name in fields), *sorted(flags)]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:
        return ""
