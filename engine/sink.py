"""Where stems go: a Protocol, and the sink that writes a folder of audio files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

import numpy as np

from engine.audio import Samples
from engine.encoders import open_encoder
from engine.encoders.base import Encoder
from engine.encoders.prepare import round_to_depth
from engine.formats import WAV_16, Output, OutputFormat
from engine.tags import Tags


class StemSink(Protocol):
    """Takes a song's stems as they come. `commit` or `discard` ends it; before `commit` nobody sees a stem."""

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int, tags: Tags | None = None) -> None:
        """`frames` is what the song is expected to have; it may come out a little different. `tags` are the
        song's. Raises OSError like `write`."""
        ...

    def write(self, stem: str, block: Samples) -> Samples:
        """Store the next block (frames, channels); returns it as stored: rounded, and clipped at full scale.

        Lossy formats, and those that lack the song's rate, return it as it goes into the encoder: clipped.
        Neither `block` nor what is returned may be changed afterwards: an encoder may still read it.
        Raises OSError, ENOSPC when there is no room left; encoders may say so with a later block or in `commit`.
        """
        ...

    def commit(self) -> None:
        """All stems are whole: make them last, and seen."""
        ...

    def discard(self) -> None:
        """Remove everything that was written. May be called at any time, also before `open`."""
        ...

    @property
    def output(self) -> Output | None:
        """How the stems are written; None where nothing is, and before `open`."""
        ...


class DirectorySink:
    """Writes `<stem>.<suffix>` below `folder`: all of them or none, under other names until they are whole."""

    def __init__(self, folder: Path, format: OutputFormat = WAV_16) -> None:
        self.folder = folder
        self.format = format
        self._encoders: dict[str, Encoder] = {}
        self._begun: list[str] = []
        """Stems that may have a file: also the one whose encoder could not be opened."""
        self._shown: list[str] = []
        self._output: Output | None = None

    @property
    def output(self) -> Output | None:
        return self._output

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int, tags: Tags | None = None) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        format, new_rate = self.format, self.format.rate_for(rate)
        bit_rate = format.bit_rate_for(new_rate, channels)
        self._output = Output(format.container, format.bit_depth, bit_rate, new_rate)
        for stem in stems:
            named = None if tags is None else tags.for_stem(stem)
            self._begun.append(stem)
            self._encoders[stem] = open_encoder(self._part(stem), format, rate, channels, frames, named)
        self._resampled = new_rate != rate

    def write(self, stem: str, block: Samples) -> Samples:
        encoder, bit_depth = self._encoders[stem], self.format.bit_depth
        if bit_depth == "float":
            encoder.write(block)
            return block
        if bit_depth is None or self._resampled:
            clipped: Samples = np.clip(block, -1, 1)
            encoder.write(clipped)
            return clipped
        whole, stored = round_to_depth(block, bit_depth)
        encoder.write(whole)
        return stored

    def commit(self) -> None:
        for encoder in self._encoders.values():
            encoder.finish()
        with ThreadPoolExecutor(max(1, len(self._encoders))) as pool:  # disks take them together in the time of one
            list(pool.map(_make_last, map(self._part, self._encoders)))
        for stem in self._encoders:
            self._part(stem).replace(self.path(stem))
            self._shown.append(stem)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._encoders.clear()
        self._begun.clear()
        self._shown.clear()

    def discard(self) -> None:
        for encoder in self._encoders.values():
            encoder.abort()
        self._encoders.clear()
        for stem in self._begun:
            self._part(stem).unlink(missing_ok=True)
        self._begun.clear()
        for stem in self._shown:  # by a `commit` that could not show them all
            self.path(stem).unlink(missing_ok=True)
        self._shown.clear()

    def path(self, stem: str) -> Path:
        return self.folder / f"{stem}{self.format.suffix}"

    def _part(self, stem: str) -> Path:
        return self.folder / f".{stem}{self.format.suffix}.part"


def _make_last(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())


class NullSink:
    """Hears everything and keeps nothing: for warming up and for measuring."""

    @property
    def output(self) -> Output | None:
        return None

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int, tags: Tags | None = None) -> None:
        pass

    def write(self, stem: str, block: Samples) -> Samples:
        return block

    def commit(self) -> None:
        pass

    def discard(self) -> None:
        pass
