"""Whether stems are right: as long as the song, at its rate, summing to it, and not the song twice."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from engine.audio import Samples
from engine.audio_io import DecodeLimits, decode

LONGEST_SECONDS = 24 * 3600.0
SUM_DBFS = -80.0
"""Rounding two stems to 16 bits leaves about -98 dBFS; clipping leaves more."""
SILENT_DBFS = -70.0
"""A stem below this holds nothing to hear; and as stems sum to the song, the others would then be the song."""


@dataclass(frozen=True, slots=True)
class Finding:
    ok: bool
    text: str


def inspect(song: Path, stems: Mapping[str, Path]) -> list[Finding]:
    """Compare stem files with the song, block by block: the song may be of any length."""
    energy = dict.fromkeys([*stems, "song", "missing"], 0.0)
    opened = {name: soundfile.SoundFile(path) for name, path in stems.items()}
    frames = 0
    with decode(song, DecodeLimits(seconds=LONGEST_SECONDS)) as decoding:
        rate = decoding.rate
        for block in decoding.blocks():
            parts = {name: file.read(len(block), dtype="float32", always_2d=True) for name, file in opened.items()}
            if any(len(part) != len(block) for part in parts.values()):
                return [Finding(False, "A stem is shorter than the song.")]
            frames += len(block)
            for name, part in parts.items():
                energy[name] += _energy(part)
            energy["song"] += _energy(block)
            energy["missing"] += _energy(block - np.sum(list(parts.values()), axis=0))
    same_length = all(file.frames == frames and file.samplerate == rate for file in opened.values())
    level = {name: _dbfs(value, frames) for name, value in energy.items()}
    findings = [
        Finding(same_length, f"Every stem has the song's {frames} frames at {rate} Hz"),
        Finding(level["missing"] < SUM_DBFS, f"The stems sum to the song: {level['missing']:.0f} dBFS are missing"),
    ]
    for name in stems:
        text = f"{name}: {level[name]:.1f} dBFS (the song: {level['song']:.1f})"
        findings.append(Finding(level[name] > SILENT_DBFS, text))
    for file in opened.values():
        file.close()
    return findings


def _energy(block: Samples) -> float:
    return float(np.square(block, dtype=np.float64).sum() / block.shape[1])


def _dbfs(energy: float, frames: int) -> float:
    return float(10 * math.log10(energy / max(1, frames) + 1e-20))
