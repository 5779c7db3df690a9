"""Integrated loudness as ITU-R BS.1770-5 and EBU R 128 define it, measured as a stream."""

from __future__ import annotations

import functools
import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.dsp.recursive import FilterMatrices, RecursiveFilter

Weighted = NDArray[np.float32]
"""K-weighted samples, (channels, frames)."""
OFFSET = -0.691
"""LUFS of a unit mean square after K-weighting."""
ABSOLUTE_GATE = -70.0
RELATIVE_GATE = -10.0
LEVELS_PER_LU = 100
LEVELS = 200 * LEVELS_PER_LU
"""From the absolute gate up to far beyond full scale."""
STEPS_PER_BLOCK = 4
"""A gating block lasts 400 ms and starts every 100 ms."""


def k_weighting(rate: int) -> NDArray[np.float64]:
    """The two biquads of BS.1770 (a shelf of 4 dB from 1.7 kHz on, a high-pass at 38 Hz) for `rate` Hz, as
    second-order sections (2, 6).

    The standard tabulates them for 48 kHz only; the analogue prototypes behind its table and their bilinear
    transform are those of Brecht De Man, "Evaluation of Implementations of the EBU R128 Loudness
    Measurement", AES 145, 2018.
    """
    shelf_gain, shelf_q, shelf_hz = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    pass_q, pass_hz = 0.5003270373238773, 38.13547087602444
    k = math.tan(math.pi * min(shelf_hz / rate, 0.49))
    high = 10 ** (shelf_gain / 20)
    band = high**0.4996667741545416
    scale = 1 + k / shelf_q + k * k
    shelf = [
        (high + band * k / shelf_q + k * k) / scale,
        2 * (k * k - high) / scale,
        (high - band * k / shelf_q + k * k) / scale,
        1.0,
        2 * (k * k - 1) / scale,
        (1 - k / shelf_q + k * k) / scale,
    ]
    k = math.tan(math.pi * pass_hz / rate)
    scale = 1 + k / pass_q + k * k
    high_pass = [1.0, -2.0, 1.0, 1.0, 2 * (k * k - 1) / scale, (1 - k / pass_q + k * k) / scale]
    return np.array([shelf, high_pass])


class KWeighting:
    """The K-weighting filter with its memory: blocks (frames, channels) in, (channels, frames) out, weighted."""

    def __init__(self, rate: int, channels: int) -> None:
        self._filter = RecursiveFilter(_matrices(rate), channels)

    def filter(self, block: Samples) -> Weighted:
        return self._filter.filter(np.ascontiguousarray(block.T))


@functools.cache
def _matrices(rate: int) -> FilterMatrices:
    return FilterMatrices(k_weighting(rate))


class Loudness:
    """Adds up one K-weighted signal in steps of 100 ms.

    Blocks are counted by their loudness, to a hundredth of a LU: a list of them would grow with the song. Only those
    that are as loud as the relative gate to that hundredth may be taken for louder or quieter than they are.
    """

    def __init__(self, rate: int) -> None:
        self._step = max(1, round(rate / 10))
        self._filled, self._energy = 0, 0.0
        self._steps: deque[float] = deque(maxlen=STEPS_PER_BLOCK)
        self._counts = np.zeros(LEVELS, np.int64)
        self._powers = np.zeros(LEVELS)
        """The sum over the blocks of each level."""

    def hear(self, weighted: Weighted) -> None:
        """The next K-weighted block (channels, frames); mono counts once, both channels of stereo in full."""
        position, frames = 0, weighted.shape[1]
        if self._filled:
            position = min(frames, self._step - self._filled)
            self._add(weighted[:, :position])
        whole = (frames - position) // self._step
        steps = weighted[:, position : position + whole * self._step].reshape(len(weighted), whole, self._step)
        for energy in np.einsum("cks,cks->k", steps, steps).tolist():
            self._count(energy)
        self._add(weighted[:, position + whole * self._step :])

    @property
    def lufs(self) -> float | None:
        """Integrated loudness so far; None where nothing is louder than the absolute gate, or for less than
        400 ms. Source: BS.1770-5, annex 1."""
        heard = self._counts > 0
        if not heard.any():
            return None
        counts, powers = self._counts[heard], self._powers[heard]
        loud = powers / counts > powers.sum() / counts.sum() * 10 ** (RELATIVE_GATE / 10)
        return round(OFFSET + 10 * math.log10(powers[loud].sum() / counts[loud].sum()), 2)

    def _add(self, part: Weighted) -> None:
        """A part of a step, at most up to its end."""
        self._energy += float(np.vdot(part, part))
        self._filled += part.shape[1]
        if self._filled == self._step:
            self._count(self._energy)
            self._filled, self._energy = 0, 0.0

    def _count(self, energy: float) -> None:
        """The step that has just ended, and the block that ends with it."""
        self._steps.append(energy / self._step)
        power = sum(self._steps) / STEPS_PER_BLOCK
        if len(self._steps) == STEPS_PER_BLOCK and power > _power(ABSOLUTE_GATE):
            above = OFFSET + 10 * math.log10(power) - ABSOLUTE_GATE
            level = min(int(above * LEVELS_PER_LU), LEVELS - 1)
            self._counts[level] += 1
            self._powers[level] += power


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - OFFSET) / 10))
