"""A decoded song kept on the disk between its first hearing and its second, so that it is decoded once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

import numpy as np

from engine.audio import Samples

LONGEST_SECONDS = 360.0
"""127 MB of stereo at 44.1 kHz. What is longer is decoded again: disks have an end."""
BLOCK_FRAMES = 1 << 15


class HeardSong:
    """Blocks (frames, channels) of float32, in a temporary file without a name. A disk that is full, or that is not
    to be written, is no error: then nothing is kept, and `blocks` says so."""

    def __init__(self, channels: int) -> None:
        self._channels = channels
        self._file: IO[bytes] | None = None
        self._whole = False
        with suppress(OSError):
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by `close`

    def keep(self, blocks: Iterator[Samples]) -> Iterator[Samples]:
        """Pass them on; they count as kept once all of them have come."""
        for block in blocks:
            self._write(block)
            yield block
        self._whole = self._file is not None

    def blocks(self, start: int) -> Iterator[Samples] | None:
        """From frame `start` on; None when not all of it is here."""
        return self._read(start) if self._whole else None

    def close(self) -> None:
        self._whole = False
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, block: Samples) -> None:
        if self._file is not None:
            try:
                block.tofile(self._file)
            except OSError:
                self.close()

    def _read(self, start: int) -> Iterator[Samples]:
        assert self._file is not None
        self._file.seek(4 * self._channels * start)
        while len(samples := np.fromfile(self._file, np.float32, BLOCK_FRAMES * self._channels)):
            yield samples.reshape(-1, self._channels)
