"""What was measured about a result: the evidence that goes into the task's record and beside the files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from engine.audio import Samples
from engine.audio_io import DecodeReport
from engine.models.base import HighFrequencies
from engine.runtimes.base import RuntimeInfo

WarningCode = Literal["truncated", "damaged", "silence", "mono", "downmixed", "clipped", "nonfinite"]
SILENCE_DBFS = -90.0
"""A song whose RMS is below this is called silent: less than half a step of 16 bits."""
TRUNCATED_SECONDS = 0.5
TRUNCATED_SHARE = 0.01
"""How much shorter than its header's word a song may be; bit rate estimates are off by that much."""


@dataclass(frozen=True, slots=True)
class ReceiptWarning:
    code: WarningCode
    detail: str


@dataclass(frozen=True, slots=True)
class StemMeasure:
    """`peak` is linear, full scale = 1.0, before clipping; `rms_dbfs` is None for digital silence."""

    peak: float
    clipped_samples: int
    rms_dbfs: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    model: str
    family: str
    weights_sha256: str
    runtime: RuntimeInfo
    high_frequencies: HighFrequencies
    rate: int
    channels: int
    frames_in: int
    frames_out: int
    declared_seconds: float | None
    decoded_seconds: float
    stems: dict[str, StemMeasure]
    residual_dbfs: float | None
    """RMS of song - Σ stems as stored; None when they are equal to the last bit."""
    seconds: dict[str, float]
    """Wall-clock seconds by stage, `total` among them; stages overlap, so they don't add up to it."""
    real_time_factor: float
    warnings: list[ReceiptWarning] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Meter:
    """Adds up one signal's peak, energy and clipped samples, block by block."""

    def __init__(self) -> None:
        self.peak = 0.0
        self.clipped = 0
        self._energy = 0.0
        self._count = 0

    def hear(self, block: Samples, stored: Samples | None = None) -> None:
        """`stored` is the block as a sink kept it: a sample moved by more than rounding was clipped."""
        if not block.size:
            return
        flat = np.ascontiguousarray(block).ravel()
        peak = max(float(flat.max()), -float(flat.min()))
        self.peak = max(self.peak, peak)
        self._energy += float(np.dot(flat, flat))
        self._count += flat.size
        if stored is not None and stored is not block and peak >= 1.0:
            self.clipped += int(np.count_nonzero(np.abs(stored - block) > 2.0**-15))

    @property
    def rms_dbfs(self) -> float | None:
        if not self._energy:
            return None
        return round(10 * math.log10(self._energy / self._count), 2)

    def measure(self) -> StemMeasure:
        return StemMeasure(round(self.peak, 6), self.clipped, self.rms_dbfs)


def is_truncated(declared: float, found: float) -> bool:
    """Whether a song of `found` seconds is shorter than its header's `declared` ones by more than guessing."""
    return declared - found > max(TRUNCATED_SECONDS, TRUNCATED_SHARE * declared)


def find_warnings(
    report: DecodeReport, rate: int, channels: int, mix: Meter, stems: dict[str, StemMeasure]
) -> list[ReceiptWarning]:
    found: list[ReceiptWarning] = []
    decoded, declared = report.frames / rate, report.declared_seconds
    if declared is not None and is_truncated(declared, decoded):
        found.append(ReceiptWarning("truncated", f"The file says {declared:.2f} s and holds {decoded:.2f} s."))
    if report.damaged_packets:
        found.append(ReceiptWarning("damaged", f"{report.damaged_packets} damaged packets were left out."))
    if mix.rms_dbfs is None or mix.rms_dbfs < SILENCE_DBFS:
        found.append(ReceiptWarning("silence", "The song is silent."))
    if channels == 1:
        found.append(ReceiptWarning("mono", "The song is mono; so are its stems."))
    if report.downmixed:
        found.append(ReceiptWarning("downmixed", "More than two channels were mixed down by ITU-R BS.775."))
    if report.nonfinite_samples:
        detail = f"{report.nonfinite_samples} samples were not numbers and became silence."
        found.append(ReceiptWarning("nonfinite", detail))
    clipped = {stem: measure.clipped_samples for stem, measure in stems.items() if measure.clipped_samples}
    if clipped:
        detail = ", ".join(f"{stem}: {count}" for stem, count in clipped.items())
        found.append(ReceiptWarning("clipped", f"Samples beyond full scale were clipped ({detail})."))
    return found
