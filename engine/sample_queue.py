"""Samples on their way from one thread to another; in memory one channel after the other, as most of the engine reads
and writes them (only files interleave them)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from engine.audio import Samples


class SampleQueue:
    """First in, first out; one thread pushes while another pops."""

    def __init__(self, channels: int) -> None:
        self._blocks: deque[Samples] = deque()
        self._channels = channels

    def push(self, block: Samples) -> None:
        self._blocks.append(block)

    def pop(self, count: int) -> Samples:
        """The next `count` samples (frames, channels), or as many as there are; not copied where they came as one."""
        taken: list[Samples] = []
        while count and self._blocks:
            block = self._blocks[0]
            if len(block) <= count:
                self._blocks.popleft()
            else:
                self._blocks[0] = block[count:]
            taken.append(block[:count])
            count -= len(taken[-1])
        if len(taken) == 1:
            return taken[0]
        samples = np.empty((self._channels, sum(map(len, taken))), np.float32)
        np.concatenate([block.T for block in taken] or [samples], axis=1, out=samples)
        return samples.T


def regrouped(blocks: Iterable[Samples], sizes: Iterable[int]) -> Iterator[Samples]:
    """The same samples in blocks of `sizes` frames, which never end; the last block may be shorter. Every block is an
    array of its own."""
    waiting = 0
    queue: SampleQueue | None = None
    wanted = iter(sizes)
    size = next(wanted)
    for block in blocks:
        if queue is None:
            queue = SampleQueue(block.shape[1])
        queue.push(block)
        waiting += len(block)
        del block  # held by nobody but the queue
        while waiting >= size:
            yield queue.pop(size)
            waiting -= size
            size = next(wanted)
    if queue is not None and waiting:
        yield queue.pop(waiting)
