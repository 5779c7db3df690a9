"""The words and the picture that a file carries about its song."""

from __future__ import annotations

from typing import Any, Literal

NAMES = (
    *("title", "artist", "album", "album_artist", "date", "genre", "track", "disc", "composer", "comment"),
    *("copyright", "performer", "publisher", "conductor", "grouping", "compilation", "language", "lyrics"),
    *("isrc", "bpm", "sort_name", "title-sort", "artist-sort", "album-sort"),
)
"""FFmpeg's generic names. All else stays behind: players' private data, and measures of the whole song
(ReplayGain, encoder delays) that would be wrong for its stems."""
ALIASES = {"tsrc": "isrc", "tbpm": "bpm", "tmpo": "bpm", "year": "date", "description": "comment"}
LONGEST_VALUE = 4096
"""Characters of one value."""
LARGEST_COVER = 8 * 2**20
"""Bytes of the picture."""
PICTURES: dict[bytes, Literal["image/jpeg", "image/png"]] = {
    b"\xff\xd8\xff": "image/jpeg",
    b"\x89PNG\r\n\x1a\n": "image/png",
}
PACKETS_BEFORE_COVER = 32
"""FFmpeg hands the attached pictures out before all other packets."""


def read_values(container: Any, stream: Any) -> dict[str, str]:
    """Names of NAMES with their values. Formats with one set of tags for each stream (ogg) keep them there."""
    values: dict[str, str] = {}
    for source in (container.metadata, stream.metadata):
        for name, value in source.items():
            name = name.lower()
            known = name if name in NAMES else ALIASES.get(name)
            if known is not None and known not in values and (text := clean(value)):
                values[known] = text
    return values


def clean(value: str) -> str:
    """Without control characters (but line breaks and tabs), and no longer than LONGEST_VALUE."""
    # Cut first: what comes behind is not worth looking at.
    kept = (char for char in value[: 2 * LONGEST_VALUE] if char in "\n\t" or char.isprintable())
    return "".join(kept)[:LONGEST_VALUE].strip()


def read_cover(container: Any, attached: Any) -> bytes | None:
    """The attached picture, the front cover where there are several; its bytes as they are, undecoded.

    `attached` is PyAV's flag of such pictures. The packets that were read are lost to other readers.
    """
    covers: list[tuple[bool, bytes]] = []
    for number, packet in enumerate(container.demux()):
        if number >= PACKETS_BEFORE_COVER:
            break
        if packet.stream.disposition & attached and picture_type(content := bytes(packet)) is not None:
            covers.append(("front" in packet.stream.metadata.get("comment", "").lower(), content))
    return max(covers, key=lambda cover: cover[0])[1] if covers else None


def picture_type(content: bytes | bytearray) -> Literal["image/jpeg", "image/png"] | None:
    """Its media type by its first bytes, None for what is no JPEG or PNG or larger than LARGEST_COVER."""
    if len(content) > LARGEST_COVER:
        return None
    return next((kind for magic, kind in PICTURES.items() if content.startswith(magic)), None)
