"""From the song's samples to the file's: rounded to its bit depth, resampled to its rate."""

from __future__ import annotations

from typing import Literal

import numpy as np

from engine.audio import Samples
from engine.encoders.base import Block, Encoder
from engine.formats import BitDepth

PIECE = 16_384
"""Frames that are rounded at once: what is between the steps then stays in the core's own cache."""


def round_to_depth(block: Samples, bit_depth: Literal[16, 24]) -> tuple[Block, Samples]:
    """(frames, channels) float32 → (the integers to write, what they mean as float32); clipped, never wrapped.

    16 bits as int16, 24 bits as int32 in its upper 24. Rounded here and not by libsndfile, which multiplies by
    32767 what decoders divide by 32768. In float32 every 24-bit value is exact, and so is all of this.
    """
    full_scale = np.float32(2 ** (bit_depth - 1))
    stored = np.empty_like(block, np.float32)  # in the block's order of channels; files interleave them
    whole: Block = np.empty(block.shape, np.int16 if bit_depth == 16 else np.int32)
    for start in range(0, len(block), PIECE):
        piece = stored[start : start + PIECE]
        np.multiply(block[start : start + PIECE], full_scale, out=piece)
        np.rint(piece, out=piece)
        np.clip(piece, -full_scale, full_scale - 1, out=piece)
        for channel in range(block.shape[1]):  # four times as fast as all at once, where they lie apart
            np.copyto(whole[start : start + PIECE, channel], piece[:, channel], casting="unsafe")
        np.multiply(piece, 1 / full_scale, out=piece)
    if bit_depth == 24:
        np.left_shift(whole, 8, out=whole)
    return whole, stored


class Rounded:
    """Rounds float32 before an encoder that takes integers."""

    def __init__(self, encoder: Encoder, bit_depth: BitDepth) -> None:
        self._encoder, self._bit_depth = encoder, bit_depth

    def write(self, block: Block) -> None:
        if self._bit_depth != "float":
            block = round_to_depth(block.astype(np.float32, copy=False), self._bit_depth)[0]
        self._encoder.write(block)

    def finish(self) -> None:
        self._encoder.finish()

    def abort(self) -> None:
        self._encoder.abort()


class Resampled:
    """Changes the rate before an encoder that has no such rate; clips what overshoots."""

    def __init__(self, encoder: Encoder, rate: int, new_rate: int, channels: int) -> None:
        import soxr

        self._encoder, self._channels = encoder, channels
        self._stream = soxr.ResampleStream(rate, new_rate, channels, dtype="float32", quality="VHQ")

    def write(self, block: Block) -> None:
        self._put(block, last=False)

    def finish(self) -> None:
        self._put(np.zeros((0, self._channels), np.float32), last=True)
        self._encoder.finish()

    def abort(self) -> None:
        self._encoder.abort()

    def _put(self, block: Block, last: bool) -> None:
        resampled = self._stream.resample_chunk(block, last=last)
        if len(resampled):
            self._encoder.write(np.clip(resampled, -1, 1))
