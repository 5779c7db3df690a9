"""What a file's own words say of its length, where FFmpeg answers with what it found instead."""

from __future__ import annotations

import os
import struct

PCM_BYTES = {"pcm_u8": 1, "pcm_s8": 1, "pcm_alaw": 1, "pcm_mulaw": 1, "pcm_s16le": 2, "pcm_s16be": 2}
PCM_BYTES |= {"pcm_s24le": 3, "pcm_s24be": 3, "pcm_s32le": 4, "pcm_s32be": 4}
PCM_BYTES |= {"pcm_f32le": 4, "pcm_f32be": 4, "pcm_f64le": 8, "pcm_f64be": 8}
"""PCM that is read, with the bytes of one sample; PyAV has no arrays of 64-bit integers, for one."""
CHUNKS_BEFORE_DATA = 64
PLACEHOLDERS = (range(1), range(0x7FFF0000, 0x80000001), range(0xFFFF0000, 0x100000000))
"""What programs that write to a pipe, where no header can be mended, give as the size of their data."""
W64_RIFF = b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00"
W64_TAIL = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
W64_LONGEST = 2**62
OGG_TAIL = 2**17
"""Longer than two pages can be (65,307 bytes each)."""
OGG_LAST_PAGE = 4


def data_size(path: str, container: str) -> int | None:
    """The bytes of samples that a WAV's or Wave64's header claims, None where it can't know; FFmpeg's own
    figure ends where the file does (not RF64's)."""
    with open(path, "rb") as file:
        if container == "wav":
            if struct.unpack("<4s4x4s", file.read(12).ljust(12)) != (b"RIFF", b"WAVE"):
                return None
            for _ in range(CHUNKS_BEFORE_DATA):
                name, size = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
                if name == b"data":
                    return None if any(size in sizes for sizes in PLACEHOLDERS) else size
                file.seek(size + size % 2, os.SEEK_CUR)
        elif container == "w64":
            if file.read(40)[:16] != W64_RIFF:
                return None
            for _ in range(CHUNKS_BEFORE_DATA):
                name, size = struct.unpack("<16sQ", file.read(24).ljust(24, b"\0"))
                if name == b"data" + W64_TAIL:
                    return size - 24 if 24 < size < W64_LONGEST else None
                if not 24 <= size < W64_LONGEST:
                    return None
                file.seek((size + 7) // 8 * 8 - 24, os.SEEK_CUR)
    return None


def is_cut_off(path: str, container: str) -> bool:
    """Whether an Ogg file ends elsewhere than with a whole last page (RFC 3533, section 6); other formats
    don't say."""
    if container != "ogg":
        return False
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - OGG_TAIL))
        tail = file.read(OGG_TAIL)
    start = tail.rfind(b"OggS\0")
    if start < 0 or len(tail) < start + 27:
        return True
    segments = tail[start + 27 : start + 27 + tail[start + 26]]
    whole = len(segments) == tail[start + 26] and len(tail) >= start + 27 + len(segments) + sum(segments)
    return not whole or not tail[start + 5] & OGG_LAST_PAGE
