"""Other comments in an Ogg Vorbis stream, while it is written.

libsndfile writes ten fields and no cover, and FFmpeg's muxer counts the samples anew. So only the pages of the
headers are made again here (RFC 3533; Vorbis I, 4.2 and 5.2), and the others numbered after them. All get another
serial number: libogg's is a random one, and the same stem shall be the same file.
"""

from __future__ import annotations

import base64
import struct
import zlib

from engine.encoders.tagging import flac_picture, vorbis_comment
from engine.tags import Tags

HEADER = struct.Struct("<4sBBqIIIB")
"""OggS, version, flags, granule position, serial number, number of the page, CRC, count of segments."""
CRC_AT = 22
CONTINUED = 1
SEGMENTS = 255
COMMENT = b"\x03vorbis"
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


class RetaggedOgg:
    """Takes a Vorbis stream in pieces of any size and gives it back with the comments of `tags`."""

    def __init__(self, tags: Tags) -> None:
        self._tags = tags
        # Of the title too, which differs between stems: streams that are chained need numbers of their own.
        self._serial = zlib.crc32(vorbis_comment(b"", tags))
        self._pending = bytearray()
        self._packets = [b""]
        """The comment and the setup header, as far as they have come."""
        self._complete = False
        self._read = 0
        self._shift: int | None = None
        """By how much the numbers of the pages behind the headers grow; None before these are whole."""

    def feed(self, data: bytes) -> bytes:
        """The pages that are whole now. Raises ValueError for what is no Ogg."""
        self._pending += data
        pages = []
        while (page := self._page()) is not None:
            pages.append(self._retagged(page))
        return b"".join(pages)

    def _page(self) -> bytes | None:
        if len(self._pending) < HEADER.size:
            return None
        if not self._pending.startswith(b"OggS"):
            raise ValueError("This is no page of an Ogg stream.")
        body = HEADER.size + self._pending[HEADER.size - 1]
        if len(self._pending) < body or len(self._pending) < (end := body + sum(self._pending[HEADER.size : body])):
            return None
        page = bytes(self._pending[:end])
        del self._pending[:end]
        return page

    def _retagged(self, page: bytes) -> bytes:
        _, _, flags, granule, _, number, _, count = HEADER.unpack_from(page)
        if number == 0 or self._shift is not None:
            body, number = HEADER.size + count, number + (self._shift or 0)
            return make_page(flags, granule, self._serial, number, page[HEADER.size : body], page[body:])
        self._collect(page, count)
        self._read += 1
        if not self._complete:
            return b""
        # The setup header ends its page, always, so there is nothing more in these pages.
        pages = make_pages([self._commented(self._packets[0]), self._packets[1]], self._serial, first=1)
        self._shift = len(pages) - self._read
        return b"".join(pages)

    def _collect(self, page: bytes, count: int) -> None:
        at = HEADER.size + count
        for size in page[HEADER.size : at]:
            self._packets[-1] += page[at : at + size]
            at += size
            if size < 255:
                self._complete = len(self._packets) == 2
                if not self._complete:
                    self._packets.append(b"")

    def _commented(self, packet: bytes) -> bytes:
        start = len(COMMENT) + 4
        vendor = packet[start : start + int.from_bytes(packet[len(COMMENT) : start], "little")]
        pictures = []
        if self._tags.cover is not None:
            picture = base64.b64encode(flac_picture(self._tags.cover)).decode()
            pictures.append(f"METADATA_BLOCK_PICTURE={picture}")
        return COMMENT + vorbis_comment(vendor, self._tags, *pictures) + b"\x01"


def make_pages(packets: list[bytes], serial: int, first: int) -> list[bytes]:
    """Headers' `packets` one behind the other in as few pages as they take, numbered from `first` on."""
    sizes = [size for packet in packets for size in (*[255] * (len(packet) // 255), len(packet) % 255)]
    body, at, flags = b"".join(packets), 0, 0
    pages: list[bytes] = []
    for start in range(0, len(sizes), SEGMENTS):
        lacing = bytes(sizes[start : start + SEGMENTS])
        # A page on which no packet ends has no position, -1; those of headers have 0.
        granule = 0 if min(lacing) < 255 else -1
        content = body[at : at + sum(lacing)]
        pages.append(make_page(flags, granule, serial, first + len(pages), lacing, content))
        at += len(content)
        flags = CONTINUED if lacing[-1] == 255 else 0
    return pages


def make_page(flags: int, granule: int, serial: int, number: int, lacing: bytes, body: bytes) -> bytes:
    def header(crc: int) -> bytes:
        return HEADER.pack(b"OggS", 0, flags, granule, serial, number, crc, len(lacing)) + lacing

    return header(page_crc(header(0) + body)) + body


def page_crc(page: bytes) -> int:
    """RFC 3533's CRC: the polynomial of zlib's with all bits in the other order, from 0, and not inverted."""
    crc = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(crc.to_bytes(4, "little").translate(REVERSED), "big")
