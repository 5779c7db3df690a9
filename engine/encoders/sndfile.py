"""WAV, FLAC and Ogg Vorbis, by libsndfile."""

from __future__ import annotations

import errno
import io
from contextlib import suppress
from pathlib import Path

import numpy as np
import soundfile

from engine.encoders.base import Block, OutputFile
from engine.encoders.id3 import id3_tag
from engine.encoders.tagged_files import FlacFile, OggFile
from engine.encoders.tagging import info_values, writable
from engine.formats import BitDepth, OutputFormat
from engine.tags import Tags

SUBTYPES: dict[BitDepth, str] = {16: "PCM_16", 24: "PCM_24", "float": "FLOAT"}
BYTES: dict[BitDepth, int] = {16: 2, 24: 3, "float": 4}
RIFF_LIMIT = 4_000_000_000
"""Bytes of samples above which a WAV's 32-bit sizes no longer do and RF64 is written."""
RIFF_END = 2**32 - 2**20
"""Bytes of samples that a WAV which was announced to be smaller can hold, with room for LIST INFO."""
LARGEST_RIFF = 2**32 - 1
"""Bytes after the first eight. A stem so long that its ID3 tag and cover no longer fit stays without them."""
VORBIS_QUALITIES = {128: 0.4, 160: 0.5, 192: 0.6, 224: 0.7, 256: 0.8, 320: 0.9}
"""kbit/s that libvorbis names for its qualities (44.1 kHz, stereo)."""
VORBIS_FRAMES = 4096
"""Frames at once: libvorbis keeps what it is given on the stack (xiph/vorbis issue 99)."""


class SndfileEncoder:
    def __init__(
        self, path: Path, format: OutputFormat, rate: int, channels: int, frames: int, tags: Tags | None
    ) -> None:
        self._path, self._format = path, format
        self._width = channels * (BYTES[format.bit_depth] if format.bit_depth else 0)
        self._rf64 = format.container == "wav" and frames * self._width > RIFF_LIMIT
        self._left = RIFF_END if format.container == "wav" and not self._rf64 else None
        name = "RF64" if self._rf64 else format.container.upper()
        subtype = SUBTYPES[format.bit_depth] if format.bit_depth else "VORBIS"
        quality = None if format.bit_rate is None else 1 - VORBIS_QUALITIES[format.bit_rate]
        self._tags = writable(tags)
        self._file = self._open(path)
        try:
            self._sound = soundfile.SoundFile(
                self._file, "w", rate, channels, subtype, format=name, compression_level=quality
            )
            if format.container == "wav":
                self._write_info()
        except BaseException:
            self._file.close()
            raise

    def write(self, block: Block) -> None:
        if self._left is not None:
            self._left -= len(block) * self._width
            if self._left < 0:
                raise OSError(errno.EFBIG, "Longer than was announced, and than a WAV can be", str(self._path))
        step = VORBIS_FRAMES if self._format.container == "ogg" else max(1, len(block))
        for start in range(0, len(block), step):
            self._sound.write(np.ascontiguousarray(block[start : start + step]))
            self._file.check()

    def finish(self) -> None:
        self._sound.close()
        if self._format.bit_depth == "float":
            self._remove_date()
        if self._format.container == "wav":
            self._append_id3()
        self._file.check()
        self._file.close()

    def abort(self) -> None:
        self._file.drop()
        with suppress(soundfile.LibsndfileError):
            self._sound.close()
        self._file.close()

    def _open(self, path: Path) -> OutputFile:
        if self._format.container == "wav":
            return OutputFile(path)
        return FlacFile(path, self._tags) if self._format.container == "flac" else OggFile(path, self._tags)

    def _write_info(self) -> None:
        """LIST INFO, which is all that Windows and many editors read of a WAV; its encoding is nowhere
        declared, UTF-8 is what most read."""
        for field, value in info_values(self._tags).items():
            with suppress(soundfile.LibsndfileError):
                setattr(self._sound, field, value)

    def _remove_date(self) -> None:
        """libsndfile notes in the chunk PEAK when it was; but the same samples shall be the same file."""
        at = 12
        while True:
            self._file.seek(at)
            head = self._file.read(8) or b""
            if len(head) < 8 or head.startswith(b"data"):
                return
            if head.startswith(b"PEAK"):
                self._file.seek(at + 12)  # behind the chunk's head and its version
                self._file.write(bytes(4))
            size = int.from_bytes(head[4:], "little")
            at += 8 + size + size % 2

    def _append_id3(self) -> None:
        """All tags and the cover as a last chunk, where most players and FFmpeg look for them."""
        tag = id3_tag(self._tags)
        size = self._file.seek(0, io.SEEK_END)
        chunk = bytes(size % 2) + b"id3 " + len(tag).to_bytes(4, "little") + tag + bytes(len(tag) % 2)
        whole = size + len(chunk) - 8
        if not tag or (not self._rf64 and whole > LARGEST_RIFF):
            return
        self._file.write(chunk)
        # RF64 (EBU Tech 3306) has its size at the begin of the chunk ds64.
        self._file.seek(20 if self._rf64 else 4)
        self._file.write(whole.to_bytes(8 if self._rf64 else 4, "little"))
