"""Another sample rate, as a stream that can be entered anywhere and gives the same bits.

A resampler that runs through a whole song rounds differently when it starts elsewhere. Here the song is cut
into segments at fixed places; each is resampled by itself, with MARGIN_SECONDS of the song before and after
it, which are then thrown away. So a segment's numbers depend on nothing but the song near it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from engine.audio import Samples

SEGMENT_SECONDS = 2.0
MARGIN_SECONDS = 0.1
"""A few times the reach of soxr's filter at VHQ for the lowest rates: what is cut off is below -120 dB."""


class SegmentGrid:
    """Where segments lie, for one pair of rates in Hz.

    Segments and margins are multiples of the smallest number of samples that both rates share, so that each
    segment begins on a sample of either.
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        common = math.gcd(rate, new_rate)
        self.rate, self.new_rate = rate, new_rate
        self._down, self._up = rate // common, new_rate // common
        self.segment = self._down * max(1, math.ceil(SEGMENT_SECONDS * rate / self._down))
        self.margin = self._down * math.ceil(MARGIN_SECONDS * rate / self._down)

    def new(self, sample: int) -> int:
        """The new rate's first sample that is not before this one."""
        return -(-sample * self._up // self._down)

    def entry(self, new_sample: int) -> int:
        """The old rate's sample from which on a stream must come to give `new_sample`."""
        if self.rate == self.new_rate:
            return new_sample
        return max(0, self._segment_of(new_sample) * self.segment - self.margin)

    def resampled(self, blocks: Iterable[Samples], start: int = 0) -> Iterator[Samples]:
        """Blocks (frames, channels) from sample `entry(start)` to the song's end → blocks at the new rate from
        its sample `start`, as long as the song."""
        if self.rate == self.new_rate:
            yield from blocks
            return
        number = self._segment_of(start)
        begin, skip = self.entry(start), start - self.new(number * self.segment)
        held: list[Samples] = []
        waiting = 0
        for block in blocks:
            held.append(block)
            waiting += len(block)
            while begin + waiting >= (number + 1) * self.segment + self.margin:
                joined = np.concatenate(held)
                yield self._segment(joined, begin, number, ends=False)[skip:]
                number, skip = number + 1, 0
                left = number * self.segment - self.margin - begin
                held, begin, waiting = [joined[left:].copy()], begin + left, waiting - left
        joined = np.concatenate(held) if held else np.zeros((0, 1), np.float32)
        while begin + len(joined) > number * self.segment:
            yield self._segment(joined, begin, number, ends=True)[skip:]
            number, skip = number + 1, 0

    def _segment_of(self, new_sample: int) -> int:
        return new_sample * self._down // self._up // self.segment

    def _segment(self, samples: Samples, begin: int, number: int, *, ends: bool) -> Samples:
        """Segment `number`, from samples that start at the song's sample `begin`."""
        first = number * self.segment
        end = min(first + self.segment, begin + len(samples))
        origin = max(0, first - self.margin)
        window = samples[origin - begin : end - begin + self.margin]
        made = soxr.resample(window, self.rate, self.new_rate, quality="VHQ")
        offset = self.new(first) - self.new(origin)
        wanted = self.new(end) - self.new(first)
        if ends and len(made) < offset + wanted:  # rounded down at the song's end
            made = np.concatenate([made, np.zeros((offset + wanted - len(made), made.shape[1]), np.float32)])
        segment: Samples = made[offset : offset + wanted]
        return segment
