"""Where stems go: a Protocol, and the sink that writes a folder of WAV files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from engine.audio import Samples

BitDepth = Literal[16, 24, "float"]
SUBTYPES: dict[BitDepth, str] = {16: "PCM_16", 24: "PCM_24", "float": "FLOAT"}
RIFF_LIMIT = 4_000_000_000
"""Bytes of samples above which a WAV's 32-bit sizes no longer do and RF64 is written."""


class StemSink(Protocol):
    """Takes a song's stems as they come. `commit` or `discard` ends it; before `commit` nobody sees a stem."""

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int) -> None:
        """`frames` is what the song is expected to have; it may come out a little different."""
        ...

    def write(self, stem: str, block: Samples) -> Samples:
        """Store the next block (frames, channels); returns it as stored: rounded, and clipped at full scale.

        Raises OSError, ENOSPC when there is no room left.
        """
        ...

    def commit(self) -> None: ...

    def discard(self) -> None:
        """Remove everything that was written. May be called at any time, also before `open`."""
        ...


class DirectorySink:
    """Writes `<stem>.wav` below `folder`: all of them or none, under other names until they are whole."""

    def __init__(self, folder: Path, bit_depth: BitDepth = 16) -> None:
        self.folder = folder
        self.bit_depth = bit_depth
        self._files: dict[str, soundfile.SoundFile] = {}

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        width = {16: 2, 24: 3, "float": 4}[self.bit_depth]
        container = "RF64" if frames * channels * width > RIFF_LIMIT else "WAV"
        for stem in stems:
            self._files[stem] = soundfile.SoundFile(
                self._part(stem), "w", rate, channels, SUBTYPES[self.bit_depth], format=container
            )

    def write(self, stem: str, block: Samples) -> Samples:
        if self.bit_depth == "float":
            self._put(stem, block)
            return block
        # Rounded here and not by libsndfile, which multiplies by 32767 what decoders divide by 32768.
        full_scale = np.float32(2 ** (self.bit_depth - 1))
        # In float32 24-bit full scale minus one is exact; so is every 16-bit value.
        whole = np.clip(np.rint(block * full_scale), -full_scale, full_scale - 1)
        if self.bit_depth == 16:
            self._put(stem, whole.astype(np.int16))
        else:
            self._put(stem, whole.astype(np.int32) << 8)
        stored: Samples = whole / full_scale
        return stored

    def commit(self) -> None:
        for stem, file in self._files.items():
            file.close()
            with self._part(stem).open("rb") as written:
                os.fsync(written.fileno())
        for stem in self._files:
            self._part(stem).replace(self.path(stem))
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        self._files.clear()

    def discard(self) -> None:
        for stem, file in self._files.items():
            file.close()
            self._part(stem).unlink(missing_ok=True)
        self._files.clear()

    def path(self, stem: str) -> Path:
        return self.folder / f"{stem}.wav"

    def _put(self, stem: str, block: NDArray[Any]) -> None:
        try:
            self._files[stem].write(block)
        except soundfile.LibsndfileError as error:
            # It says "System error." and keeps the system's reason to itself.
            full = shutil.disk_usage(self.folder).free < block.nbytes
            raise OSError(errno.ENOSPC if full else errno.EIO, str(error), str(self._part(stem))) from error

    def _part(self, stem: str) -> Path:
        return self.folder / f".{stem}.wav.part"


class NullSink:
    """Hears everything and keeps nothing: for warming up and for measuring."""

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int) -> None:
        pass

    def write(self, stem: str, block: Samples) -> Samples:
        return block

    def commit(self) -> None:
        pass

    def discard(self) -> None:
        pass
