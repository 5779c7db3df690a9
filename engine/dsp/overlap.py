"""Putting overlapping frames back together as a stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.dsp.stft import HOP, OVERLAP_GAIN, SIZE, hann

HELD = SIZE - HOP
"""Samples that a later frame still touches."""


class OverlapAdd:
    """Adds windowed frames in order and gives back the samples that no later frame can touch.

    Waves come scaled by OVERLAP_GAIN, which is right where four frames meet, as they do all over Spleeter's
    padded song. With `edges` the sum is divided by the share of the window that really fell on each sample,
    so that a song's first and last ones, which fewer frames cover, come out right too (as `torch.istft`).
    """

    def __init__(self, channels: int, *, edges: bool = False) -> None:
        self._tail = np.zeros((channels, HELD), np.float32)
        self._share_tail = np.zeros(HELD, np.float32) if edges else None
        self._window = hann() ** 2 * np.float32(OVERLAP_GAIN)

    def push(self, waves: NDArray[np.float32]) -> Samples:
        """(channels, frames, 4096) → the next frames · HOP finished samples, (samples, channels)."""
        channels, frames, _ = waves.shape
        length = frames * HOP
        total = np.zeros((channels, length + HELD), np.float32)
        total[:, :HELD] = self._tail
        for start in range(0, SIZE, HOP):
            target = total[:, start : start + length].reshape(channels, frames, HOP)
            target += waves[:, :, start : start + HOP]
        self._tail = total[:, length:].copy()
        if self._share_tail is not None:
            total[:, :length] /= self._share(frames)
        return total[:, :length].T

    def finish(self) -> Samples:
        """The samples still held back: SIZE - HOP of them, (samples, channels)."""
        if self._share_tail is not None:
            self._tail /= _not_zero(self._share_tail)
        return self._tail.T

    def _share(self, frames: int) -> NDArray[np.float32]:
        assert self._share_tail is not None
        length = frames * HOP
        share = np.zeros(length + HELD, np.float32)
        share[:HELD] = self._share_tail
        for start in range(0, SIZE, HOP):
            share[start : start + length].reshape(frames, HOP)[...] += self._window[start : start + HOP]
        self._share_tail = share[length:].copy()
        return _not_zero(share[:length])


def _not_zero(share: NDArray[np.float32]) -> NDArray[np.float32]:
    # Only the very first sample of a window (weight 0) can be below this; it lies in the mirrored margin.
    return np.maximum(share, np.float32(1e-8))
