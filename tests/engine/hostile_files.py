"""Damage, by kind: each makes a whole file's bytes into those of a hostile one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from engine.audio import Samples
from tests.engine.audio_files import encode

ENCODERS = {
    "mp3": "libmp3lame",
    "wav": "pcm_s16le",
    "w64": "pcm_s16le",
    "flac": "flac",
    "opus": "libopus",
    "m4a": "aac",
    "aac": "aac",
    "aiff": "pcm_s16be",
}
FORMATS = [*ENCODERS, "ogg"]
RATE = 48_000
HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n"


def write_song(path: Path, samples: Samples) -> Path:
    """(frames, 2) at RATE into `path`, whose ending is one of FORMATS."""
    if path.suffix == ".ogg":
        soundfile.write(path, samples, RATE, format="OGG", subtype="VORBIS")
        return path
    return encode(path, samples, RATE, ENCODERS[path.suffix[1:]])


def cut_head(whole: bytes, kind: str) -> bytes:
    return whole[len(whole) // 4 + 1 :]


def cut_middle(whole: bytes, kind: str) -> bytes:
    return whole[: len(whole) // 3] + whole[2 * len(whole) // 3 + 1 :]


def cut_tail(whole: bytes, kind: str) -> bytes:
    return whole[: len(whole) // 3 + 1]


def flip_bits(whole: bytes, kind: str) -> bytes:
    """One bit of every 1,000 bytes or so, not in the header."""
    content = np.frombuffer(whole, np.uint8).copy()
    rng = np.random.default_rng(3)
    places = rng.integers(2000, len(whole), len(whole) // 1000 + 4)
    content[places] ^= (1 << rng.integers(0, 8, len(places))).astype(np.uint8)
    return content.tobytes()


def zero_half(whole: bytes, kind: str) -> bytes:
    """A download with holes."""
    return whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2)


def picture_first(whole: bytes, kind: str) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + np.random.default_rng(0).bytes(5000) + whole


def twice(whole: bytes, kind: str) -> bytes:
    return whole + whole


def huge_id3(whole: bytes, kind: str) -> bytes:
    """2 MiB of private data, then a thousand words, before the song's first byte."""
    frames = b"PRIV" + struct.pack(">I", 2**21) + b"\0\0" + b"x" * 2**21
    for number in range(1000):
        text = b"\3name%d\0" % number + b"value" * 40
        frames += b"TXXX" + struct.pack(">I", len(text)) + b"\0\0" + text
    size = len(frames)
    return b"ID3\3\0\0" + bytes(size >> shift & 127 for shift in (21, 14, 7, 0)) + frames + whole


def lie(whole: bytes, kind: str) -> bytes:
    """The header says much more than there is: 2^31 bytes or samples, or as much as its field holds."""
    content = bytearray(whole)
    patch = LIES[kind]
    patch(content)
    return bytes(content)


def _after(content: bytearray, mark: bytes, offset: int, value: bytes) -> None:
    at = content.index(mark) + offset
    content[at : at + len(value)] = value


def _aac(content: bytearray) -> None:
    """ADTS has lengths of frames alone: the second one claims all that 13 bits can say."""
    at = content.index(b"\xff\xf1", 7)
    content[at + 3] |= 3
    content[at + 4], content[at + 5] = 0xFF, content[at + 5] | 0xE0


def _mp4(content: bytearray) -> None:
    for name in (b"mvhd", b"tkhd", b"mdhd"):
        # version and flags, two times, then (track's number and a hole, or) the scale of time
        _after(content, name, 4 + 4 + 8 + (8 if name == b"tkhd" else 4), struct.pack(">I", 2**31 - 1))


LIES: dict[str, Callable[[bytearray], None]] = {
    "mp3": lambda content: _after(content, b"Xing" if b"Xing" in content else b"Info", 8, b"\x7f\xff\xff\xff"),
    "wav": lambda content: _after(content, b"data", 4, struct.pack("<I", 2**30)),
    "w64": lambda content: _after(content, b"data\xf3\xac", 16, struct.pack("<Q", 2**40)),
    "flac": lambda content: _after(content, b"fLaC", 8 + 14, b"\x7f\xff\xff\xff"),
    # The last page's position in samples, which is how long the song is.
    "opus": lambda content: _last_page(content, 2**40),
    "ogg": lambda content: _last_page(content, 2**40),
    "m4a": _mp4,
    "aac": _aac,
    "aiff": lambda content: _after(content, b"COMM", 8 + 2, b"\x7f\xff\xff\xff"),
}


def _last_page(content: bytearray, position: int) -> None:
    at = content.rindex(b"OggS\0")
    content[at + 6 : at + 14] = struct.pack("<q", position)
    content[at + 22 : at + 26] = bytes(4)
    size = 27 + content[at + 26] + sum(content[at + 27 : at + 27 + content[at + 26]])
    content[at + 22 : at + 26] = struct.pack("<I", _ogg_crc(bytes(content[at : at + size])))


def _ogg_crc(page: bytes) -> int:
    """RFC 3533: polynomial 0x04c11db7, neither reflected nor inverted."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def same(whole: bytes, kind: str) -> bytes:
    return whole


DAMAGES: dict[str, Callable[[bytes, str], bytes]] = {
    "head cut": cut_head,
    "middle cut": cut_middle,
    "tail cut": cut_tail,
    "bits flipped": flip_bits,
    "half zeroed": zero_half,
    "wrong extension": same,
    "longer than the cap": same,
    "playlist": same,
    "huge header": huge_id3,
    "lying size": lie,
    "picture in front": picture_first,
    "twice": twice,
}
