"""A song for each one of the crowd: alike in length and sound, no two files the same."""

from __future__ import annotations

import struct
from pathlib import Path

from bench.song import write_song


def write_songs(folder: Path, count: int, seconds: float, voice: str = "Song") -> list[Path]:
    """MP3 files that differ in their title alone: the work is the same, and none is kept in another's stead."""
    folder.mkdir(parents=True, exist_ok=True)
    like = write_song(folder / f"like-{seconds:g}.mp3", seconds).read_bytes()
    songs = []
    for number in range(1, count + 1):
        song = folder / f"{voice.lower()}-{number}.mp3"
        song.write_bytes(_titled(f"{voice} {number}") + like)
        songs.append(song)
    return songs


def _titled(title: str) -> bytes:
    """An ID3v2.3 tag of one frame."""
    text = b"\0" + title.encode("latin-1")
    frame = b"TIT2" + struct.pack(">IH", len(text), 0) + text
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x03\0\0" + size + frame
