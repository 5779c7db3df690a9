"""ID3v2.4 tags (id3.org), for MP3 and WAV.

FFmpeg's muxer has frames of its own making for comments, lyrics, tempo and compilations, which players don't look
for; and it writes none into a WAV.
"""

from __future__ import annotations

import re

from engine.tags import Cover, Tags

FRAMES = {
    "title": b"TIT2",
    "artist": b"TPE1",
    "album": b"TALB",
    "album_artist": b"TPE2",
    "date": b"TDRC",
    "genre": b"TCON",
    "track": b"TRCK",
    "disc": b"TPOS",
    "composer": b"TCOM",
    "copyright": b"TCOP",
    "publisher": b"TPUB",
    "performer": b"TPE3",
    "grouping": b"TIT1",
    "language": b"TLAN",
    "compilation": b"TCMP",
    "bpm": b"TBPM",
    "artist-sort": b"TSOP",
    "album-sort": b"TSOA",
    "comment": b"COMM",
    "lyrics": b"USLT",
}
UTF8 = b"\x03"
NO_LANGUAGE = b"und\0"
"""ISO 639-2 for one that nobody named, and an empty description."""
FRONT_COVER = b"\x03\0"
"""The picture's kind, and an empty description."""
DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T\d\d(:\d\d(:\d\d)?)?)?)?)?", re.ASCII)


def id3_tag(tags: Tags) -> bytes:
    """`tags` (writable ones) with their header; nothing where there is nothing to say."""
    frames = [_text(name, value) for name, value in tags.values.items() if name in FRAMES]
    if tags.cover is not None:
        frames.append(_picture(tags.cover))
    body = b"".join(frames)
    return b"ID3\x04\0\0" + _size(body) + body if body else b""


def _text(name: str, value: str) -> bytes:
    if name in ("comment", "lyrics"):
        return _frame(FRAMES[name], UTF8 + NO_LANGUAGE + value.encode())
    if name == "date":
        # These dates are figures: "summer 1969" can't be one.
        found = DATE.match(re.sub(r"[/.]", "-", value).replace(" ", "T"))
        if found is None:
            return b""
        value = found[0]
    return _frame(FRAMES[name], UTF8 + value.encode())


def _picture(cover: Cover) -> bytes:
    return _frame(b"APIC", UTF8 + cover.media_type.encode() + b"\0" + FRONT_COVER + cover.data)


def _frame(name: bytes, body: bytes) -> bytes:
    return name + _size(body) + b"\0\0" + body


def _size(body: bytes) -> bytes:
    """28 bits, seven in each byte, so that none of it looks like the begin of an MP3's frame."""
    return bytes(len(body) >> shift & 0x7F for shift in (21, 14, 7, 0))
