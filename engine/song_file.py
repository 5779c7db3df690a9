"""A song's file as a model hears it: decoded by a child process, cut to the part that is wanted, resampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.audio_io import DecodeLimits, DecodeReport, Decoding, Opened, decode
from engine.dsp.resample import SegmentGrid
from engine.heard_song import LONGEST_SECONDS, HeardSong
from engine.sample_queue import SampleQueue
from engine.stages import Stages
from engine.tags import Tags

Remembered = Literal["decoded", "given_back", "nothing"]
"""Where `SongFile.original` comes from: the decoder; the model, which gives it back when its stems are there; or
nowhere."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which frames of a file, at its own rate, are the song: from `start` on, `frames` of them or all."""

    start: int = 0
    frames: int | None = None

    @classmethod
    def of(cls, rate: int, start_seconds: float, duration_seconds: float | None) -> Self:
        """Raises ValueError for seconds that can't be."""
        if not (0 <= start_seconds < math.inf and 0 <= (duration_seconds or 0) < math.inf):
            raise ValueError("A song's part begins and ends within it.")
        frames = None if duration_seconds is None else round(duration_seconds * rate)
        return cls(round(start_seconds * rate), frames)

    @property
    def end(self) -> int | None:
        return None if self.frames is None else self.start + self.frames


class SongFile:
    """`engine.models.base.Song` over a file. `original` keeps what `blocks` or `play` decodes, from the song's frame
    `first_frame` on, (frames, 1 or 2) at the song's rate, until the stems of the same moment are there; or what the
    model gives back then, where that is the same."""

    def __init__(
        self,
        source: Path | Opened,
        info: AudioInfo,
        model_rate: int,
        limits: DecodeLimits,
        part: Part,
        first_frame: int,
        stages: Stages,
        check: Callable[[], None],
        on_heard: Callable[[int], None],
        *,
        remembered: Remembered = "decoded",
    ) -> None:
        """`check` is called at every block and may raise; `on_heard` with the samples that `listen` has given.
        A source that is open already is decoded by the process that has it open, the first time."""
        self.channels = 1 if info.channels == 1 else 2
        self.original = SampleQueue(self.channels)
        self.report: DecodeReport | None = None
        """There once the file has been decoded to its end."""
        self.tags: Tags | None = None
        self.frames = first_frame
        """Up to which frame of the song `blocks` or `play` has come."""
        self._opened_source = source if isinstance(source, Opened) else None
        self._source = source.path if isinstance(source, Opened) else source
        self._limits, self._part = limits, part
        self._first_frame = first_frame
        self._grid = SegmentGrid(info.rate, model_rate)
        if remembered == "given_back" and not (self.channels == 2 and info.rate == model_rate):
            remembered = "decoded"
        self._kept_from = remembered
        self._stages = stages
        self._check, self._on_heard = check, on_heard
        self._short = info.seconds <= LONGEST_SECONDS
        self._heard: HeardSong | None = None
        self._open: list[Generator[Samples]] = []

    def close(self) -> None:
        """End every decoder that still runs. An error's traceback would keep them open."""
        for blocks in self._open:
            blocks.close()
        if self._heard is not None:
            self._heard.close()

    def listen(self) -> Iterator[Samples]:
        heard, decoded = 0, self._opened(0, followed=not self._short)
        if self._short:
            self._heard = HeardSong(self.channels)
            decoded = self._heard.keep(decoded)
        for block in self._resampled(decoded, 0):
            heard += len(block)
            self._on_heard(heard)
            yield block

    def blocks(self, start: int = 0) -> Iterator[Samples]:
        entry = self._grid.entry(start)
        return self._resampled(self._remembered(self._opened(entry), entry), start)

    def play(self, start: int) -> Iterator[Samples]:
        """The song from its own frame `start` on as it is, for stems that need no model any more."""
        return self._remembered(self._opened(start), start)

    def take_back(self, block: Samples) -> None:
        if self._kept_from == "given_back":
            self.original.push(block)

    def _resampled(self, blocks: Iterator[Samples], start: int) -> Iterator[Samples]:
        stereo = (block if block.shape[1] == 2 else np.repeat(block, 2, axis=1) for block in blocks)
        for block in self._grid.resampled(stereo, start):
            self._check()
            yield block

    def _remembered(self, blocks: Iterator[Samples], position: int) -> Iterator[Samples]:
        for block in blocks:
            if self._kept_from == "decoded":
                self.original.push(block[max(0, self._first_frame - position) :])
            position += len(block)
            self.frames = max(self._first_frame, position)
            yield block

    def _opened(self, start: int, *, followed: bool = False) -> Iterator[Samples]:
        if self._heard is not None and (kept := self._heard.blocks(start)) is not None:
            return kept
        blocks = self._decoded(start, followed)
        self._open.append(blocks)
        return blocks

    def _decoded(self, start: int, followed: bool) -> Generator[Samples]:
        """The song's frames from `start` on."""
        with self._decoder(followed) as decoding:
            self.tags = decoding.tags
            position = self._part.start + start
            blocks = decoding.blocks(position)
            while (block := self._next(blocks)) is not None:
                if self._part.end is not None:
                    block = block[: self._part.end - position]
                position += len(block)
                if len(block):
                    yield block
                if position == self._part.end:
                    break
            self.report = decoding.report

    def _decoder(self, followed: bool) -> AbstractContextManager[Decoding]:
        opened, self._opened_source = self._opened_source, None
        if opened is not None:
            return opened.decode(self._check)
        return decode(self._source, self._limits, followed=followed, check=self._check)

    def _next(self, blocks: Iterator[Samples]) -> Samples | None:
        with self._stages.timing("decode"):
            return next(blocks, None)
