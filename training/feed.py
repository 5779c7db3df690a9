"""Batches in the order of their steps, made ahead by other processes."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from training.mixing import Batch, Mixer, Mixing
from training.orphan import end_with_parent
from training.pools import open_pools


@dataclass(frozen=True, slots=True)
class Feed:
    """`workers` 0 makes each batch when it is asked for, in this process. The batches are the same in any case."""

    folder: Path
    frames: int
    size: int
    seed: int
    workers: int = 1
    mixing: Mixing | None = None

    def batches(self, start: int) -> Generator[Batch]:
        """From step `start` on, without end."""
        if self.workers == 0:
            mixer, step = self.mixer(), start
            while True:
                yield mixer.batch(self.seed, step, self.size)
                step += 1
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(self,)) as executor:
            waiting: deque[Future[Batch]] = deque()
            step = start
            try:
                while True:
                    while len(waiting) < 2 * self.workers + 2:
                        waiting.append(executor.submit(_make, step))
                        step += 1
                    yield waiting.popleft().result()
            finally:
                executor.shutdown(wait=False, cancel_futures=True)

    def mixer(self) -> Mixer:
        return Mixer(open_pools(self.folder), self.frames, self.mixing)


_feed: Feed | None = None
_mixer: Mixer | None = None


def _begin(feed: Feed) -> None:
    global _feed, _mixer
    end_with_parent()
    _feed, _mixer = feed, feed.mixer()


def _make(step: int) -> Batch:
    assert _feed is not None and _mixer is not None
    return _mixer.batch(_feed.seed, step, _feed.size)
