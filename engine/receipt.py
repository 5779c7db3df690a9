"""What was measured about a result: the evidence that goes into the task's record and beside the files."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeReport
from engine.dsp.headroom import LIMIT
from engine.errors import EngineError
from engine.formats import Output
from engine.loudness import KWeighting, Loudness, Weighted
from engine.models.base import HighFrequencies
from engine.runtimes.base import RuntimeInfo

WarningCode = Literal["truncated", "damaged", "silence", "mono", "downmixed", "clipped", "nonfinite", "rate_changed"]
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
    """`peak` is linear, full scale = 1.0, before clipping; `rms_dbfs` is None for digital silence;
    `loudness_lufs` is integrated (ITU-R BS.1770), None for what is too short or too soft to have one."""

    peak: float
    clipped_samples: int
    rms_dbfs: float | None
    loudness_lufs: float | None


@dataclass(frozen=True, slots=True)
class Receipt:
    model: str
    family: str
    weights_sha256: str
    runtime: RuntimeInfo
    high_frequencies: HighFrequencies
    output: Output | None
    """How the stems were written; None when they were not."""
    gain_db: float
    rate: int
    channels: int
    first_frame: int
    """Of the song at its own rate; more than 0 when a range of a song was separated that begins later."""
    frames_in: int
    frames_out: int
    start_seconds: float
    """Where in the file the song begins that was asked for."""
    declared_seconds: float | None
    decoded_seconds: float
    """Of the whole file; of the part that was asked for when the rest of it was not decoded."""
    mix: StemMeasure
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
    """Adds up one signal's peak, energy, clipped samples and, where it is weighted, loudness, by block."""

    def __init__(self, rate: int, channels: int) -> None:
        self.peak = 0.0
        self.clipped = 0
        self.cut = False
        """Whether what is stored lacks what was clipped; else the other stems have it."""
        self._energy = 0.0
        self._count = 0
        self._weighting = KWeighting(rate, channels)
        self._loudness = Loudness(rate)

    def hear(self, block: Samples) -> None:
        """Raises EngineError for numbers that are no samples: NaN and infinity."""
        if not block.size:
            return
        flat = block.ravel(order="K")
        highest, lowest = float(flat.max()), float(flat.min())
        if not math.isfinite(highest - lowest):
            raise EngineError("The model gave numbers that are no samples (not finite).")
        self.peak = max(self.peak, highest, -lowest)
        self._energy += float(np.dot(flat, flat))
        self._count += flat.size

    def compare(self, block: Samples, stored: Samples) -> None:
        """Count what was clipped of a block that was heard; `stored` is the block as a sink kept it."""
        if stored is not block and self.peak > 1.0:
            count = int(np.count_nonzero((np.abs(block) > 1.0) & (stored != block)))
            self.clipped += count
            self.cut = self.cut or count > 0

    def overflow(self, block: Samples) -> None:
        """Count the samples of a block that its stem alone could not have held; other stems hold the rest."""
        self.peak = max(self.peak, float(block.max()), -float(block.min()))
        self.clipped += int(np.count_nonzero(np.abs(block) > LIMIT))

    def weigh(self, block: Samples) -> Weighted:
        """Measure the loudness of the next block; returns it K-weighted."""
        weighted = self._weighting.filter(block)
        self._loudness.hear(weighted)
        return weighted

    def hear_weighted(self, weighted: Weighted, change: Samples | None = None) -> None:
        """The next block of a signal that somebody else has weighted: the filter is linear. `change` is what was
        then added to the signal; once there was one, there is one with every block."""
        self._loudness.hear(weighted if change is None else weighted + self._weighting.filter(change))

    @property
    def rms_dbfs(self) -> float | None:
        if not self._energy:
            return None
        return round(10 * math.log10(self._energy / self._count), 2)

    def measure(self) -> StemMeasure:
        return StemMeasure(round(self.peak, 6), self.clipped, self.rms_dbfs, self._loudness.lufs)


def is_truncated(declared: float, found: float) -> bool:
    """Whether a song of `found` seconds is shorter than its header's `declared` ones by more than guessing."""
    return declared - found > max(TRUNCATED_SECONDS, TRUNCATED_SHARE * declared)


def find_warnings(
    report: DecodeReport | None, info: AudioInfo, mix: StemMeasure, stems: dict[str, StemMeasure], output: Output | None
) -> list[ReceiptWarning]:
    """`report` is None when the file was not decoded to its end, because a part of it was asked for."""
    found = [] if report is None else _about_the_file(report, info.rate)
    if mix.rms_dbfs is None or mix.rms_dbfs < SILENCE_DBFS:
        found.append(ReceiptWarning("silence", "The song is silent."))
    if info.channels == 1:
        found.append(ReceiptWarning("mono", "The song is mono; so are its stems."))
    if info.channels > 2:
        found.append(ReceiptWarning("downmixed", "More than two channels were mixed down by ITU-R BS.775."))
    if output is not None and output.rate != info.rate:
        detail = f"{output.container} has no {info.rate} Hz: the stems are written at {output.rate} Hz."
        found.append(ReceiptWarning("rate_changed", detail))
    clipped = {stem: measure.clipped_samples for stem, measure in stems.items() if measure.clipped_samples}
    if clipped:
        detail = ", ".join(f"{stem}: {count}" for stem, count in clipped.items())
        found.append(
            ReceiptWarning(
                "clipped",
                f"Samples beyond full scale were clipped ({detail}); with `mixture` other stems hold what was cut off.",
            )
        )
    return found


def _about_the_file(report: DecodeReport, rate: int) -> list[ReceiptWarning]:
    found: list[ReceiptWarning] = []
    decoded, declared = report.frames / rate, report.declared_seconds
    if declared is not None and is_truncated(declared, decoded):
        found.append(ReceiptWarning("truncated", f"The file says {declared:.2f} s and holds {decoded:.2f} s."))
    elif report.cut_off:
        found.append(ReceiptWarning("truncated", f"The file ends without its end mark, after {decoded:.2f} s."))
    if report.damaged_packets:
        found.append(ReceiptWarning("damaged", f"{report.damaged_packets} damaged packets were left out."))
    if report.nonfinite_samples:
        detail = f"{report.nonfinite_samples} samples were not numbers, or beyond any level, and became silence."
        found.append(ReceiptWarning("nonfinite", detail))
    return found
