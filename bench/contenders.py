"""Who is measured, and how each is started: all with the same weights, all cores, two WAV files out."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.weights import checkpoint, sherpa_graphs

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data" / "bench"
"""Songs, weights and graphs, made once; figures."""
BENCH = ROOT / "bench"
SPLEETER = ROOT / ".venv-spleeter" / "bin" / "python"
SHERPA = ROOT / ".venv-sherpa" / "bin" / "python"


@dataclass(frozen=True, slots=True)
class Contender:
    title: str
    peer: bool
    command: tuple[str | Path, ...]
    """Before the number of runs and the song."""
    runs_option: tuple[str, ...] = ()

    def call(self, song: Path, runs: int, *more: str) -> Sequence[str | Path]:
        return [*self.command, *self.runs_option, str(runs), *more, song]


def ours(
    title: str, model: str, weights: Path | None = None, runtime: str = "auto", precision: str = "auto"
) -> Contender:
    command: list[str | Path] = [sys.executable, "-m", "bench.run_ours", "--model", model, "--runtime", runtime]
    command += ["--precision", precision, "--threads", str(cores()), "--cache", DATA / "graphs"]
    if weights is not None:
        command += ["--weights", weights]
    return Contender(title, False, tuple(command), ("--runs",))


def contenders() -> list[Contender]:
    """Peers whose environment is missing are left out: see `missing`."""
    two, four = checkpoint(DATA / "2stems", 2), checkpoint(DATA / "4stems", 4)
    model = "spleeter:2stems"
    found = []
    if "avx512_bf16" in cpu_flags() or "amx_bf16" in cpu_flags():
        found.append(ours("ours, openvino bf16", model, two, "openvino", "bf16"))
    found += [
        ours("ours, openvino f32", model, two, "openvino", "f32"),
        ours("ours, onnxruntime f32", model, two, "onnxruntime", "f32"),
    ]
    if SHERPA.exists():
        vocals, accompaniment = sherpa_graphs(DATA / "sherpa")
        sherpa = (SHERPA, BENCH / "run_sherpa.py", vocals, accompaniment, str(cores()))
        found.append(Contender("sherpa-onnx f32", True, sherpa))
    if SPLEETER.exists():
        spleeter = (SPLEETER, BENCH / "run_spleeter.py", "2", two, str(cores()))
        found.append(Contender("spleeter on TensorFlow", True, spleeter))
    found += [
        ours("ours, lite", "lite"),
        ours("ours, 4 stems, auto", "spleeter:4stems", four),
    ]
    return found


def missing() -> list[str]:
    return [f"no {path.parent.parent.name}: scripts/setup-bench" for path in (SPLEETER, SHERPA) if not path.exists()]


def cores() -> int:
    return len(os.sched_getaffinity(0))


def cpu_flags() -> set[str]:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        if line.startswith("flags"):
            return set(line.split(":")[1].split())
    return set()


def machine() -> str:
    """One line: processor, cores, memory, system."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    wide = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in cpu_flags()]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{model} ({', '.join(wide)}), {cores()} cores, {memory:.0f} GB, Linux {os.uname().release}"
