"""Files that put tags into what a codec library writes, as it comes: nothing is written twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.encoders.base import OutputFile
from engine.encoders.id3 import id3_tag
from engine.encoders.ogg import RetaggedOgg
from engine.encoders.tagging import flac_picture, vorbis_comment
from engine.tags import Tags

STREAMINFO_END = 42
"""RFC 9639: the marker, and the block that is first and always as long."""
LAST = 0x80
VORBIS_COMMENT, PICTURE = 4, 6


class Mp3File(OutputFile):
    """Begins with an ID3 tag, of which the muxer knows nothing: its positions count from behind it."""

    def __init__(self, path: Path, tags: Tags) -> None:
        super().__init__(path)
        tag = id3_tag(tags)
        self._start = len(tag)
        super().write(tag)

    def seek(self, offset: int, whence: int = 0) -> int:
        return super().seek(offset + (self._start if whence == 0 else 0), whence) - self._start

    def tell(self) -> int:
        return super().tell() - self._start


class FlacFile(OutputFile):
    """Has its own metadata in the place of libFLAC's comment, which holds ten fields and no cover.

    Positions behind the metadata are moved; libFLAC comes back to its first block only, when all is counted.
    """

    def __init__(self, path: Path, tags: Tags) -> None:
        super().__init__(path)
        self._tags = tags
        self._head: bytearray | None = bytearray()
        """What libFLAC has written up to the end of its metadata; None once that has come."""
        self._shift = 0

    def write(self, data: Any) -> int:
        if self._head is None:
            return super().write(data)
        self._head += data
        comment = flac_comment(self._head)
        if comment is not None:
            start, end = comment
            made = self._metadata(bytes(self._head[:STREAMINFO_END]), bytes(self._head[start:end]))
            super().write(made + self._head[end:])
            self._shift = len(made) - end
            self._head = None
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        moved = whence == 0 and offset >= STREAMINFO_END
        return self._as_written(super().seek(offset + (self._shift if moved else 0), whence))

    def tell(self) -> int:
        # libFLAC asks while its metadata comes, and remembers where its blocks are.
        return len(self._head) if self._head else self._as_written(super().tell())

    def _as_written(self, position: int) -> int:
        return position - self._shift if position >= STREAMINFO_END + max(0, self._shift) else position

    def _metadata(self, first: bytes, comment: bytes) -> bytes:
        vendor = comment[4 : 4 + int.from_bytes(comment[:4], "little")]
        blocks = [(VORBIS_COMMENT, vorbis_comment(vendor, self._tags))]
        if self._tags.cover is not None:
            blocks.append((PICTURE, flac_picture(self._tags.cover)))
        made = bytearray(first)
        for kind, content in blocks:
            made.append(kind | (LAST if (kind, content) == blocks[-1] else 0))
            made += len(content).to_bytes(3, "big") + content
        return bytes(made)


def flac_comment(head: bytes | bytearray) -> tuple[int, int] | None:
    """Where the content of a comment right behind the first block begins and ends; None if it isn't whole yet.

    Raises ValueError where there is anything but these two blocks, which are all that libFLAC writes by itself.
    """
    start = STREAMINFO_END + 4
    if len(head) < start:
        return None
    if head[:4] != b"fLaC" or head[STREAMINFO_END] != VORBIS_COMMENT | LAST:
        raise ValueError("This is no FLAC as libFLAC begins it.")
    end = start + int.from_bytes(head[start - 3 : start], "big")
    return (start, end) if len(head) >= end else None


class OggFile(OutputFile):
    """Vorbis with other comments; its pages are written one after the other, and nobody comes back."""

    def __init__(self, path: Path, tags: Tags) -> None:
        super().__init__(path)
        self._retagged = RetaggedOgg(tags)

    def write(self, data: Any) -> int:
        super().write(self._retagged.feed(bytes(data)))
        return len(data)
