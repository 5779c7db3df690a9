"""Putting overlapping frames back together as a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.dsp.stft import HOP, SIZE, hann


class OverlapAdd:
    """Adds windowed frames in order and gives back the samples that no later frame can touch.

    Divides by the sum of squared windows that really fell on each sample, so a song's first and last
    samples, which fewer frames cover, come out right too (as in `torch.istft`).
    """

    def __init__(self, channels: int) -> None:
        self._tail = np.zeros((channels, SIZE - HOP), np.float32)
        self._weight_tail = np.zeros(SIZE - HOP, np.float32)
        self._squared_window = hann() ** 2

    def push(self, waves: NDArray[np.float32]) -> Samples:
        """(channels, frames, 4096) → the next frames · HOP finished samples, (samples, channels)."""
        channels, frames, _ = waves.shape
        length = frames * HOP
        total = np.zeros((channels, length + SIZE - HOP), np.float32)
        weight = np.zeros(length + SIZE - HOP, np.float32)
        total[:, : SIZE - HOP] = self._tail
        weight[: SIZE - HOP] = self._weight_tail
        for start in range(0, SIZE, HOP):
            target = total[:, start : start + length].reshape(channels, frames, HOP)
            target += waves[:, :, start : start + HOP]
            weight[start : start + length].reshape(frames, HOP)[...] += self._squared_window[start : start + HOP]
        self._tail = total[:, length:].copy()
        self._weight_tail = weight[length:].copy()
        return _divide(total[:, :length], weight[:length])

    def finish(self) -> Samples:
        """The samples still held back: SIZE - HOP of them, (samples, channels)."""
        return _divide(self._tail, self._weight_tail)


def _divide(total: NDArray[np.float32], weight: NDArray[np.float32]) -> Samples:
    # Only the very first sample of a window (weight 0) can be below this; it lies in the mirrored margin.
    return np.ascontiguousarray((total / np.maximum(weight, 1e-8)).T)
