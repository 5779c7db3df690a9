"""What of a song's tags a file can hold, and by which names. The values are a stranger's."""

from __future__ import annotations

from engine.tags import Cover, Tags

LONGEST_VALUE = 10_000
LARGEST_COVER = 8 * 2**20
"""Bytes. FLAC's blocks end at 16 MiB; in Ogg a cover is a third larger."""
VORBIS_FIELDS = {
    "title": "TITLE",
    "artist": "ARTIST",
    "album": "ALBUM",
    "album_artist": "ALBUMARTIST",
    "date": "DATE",
    "genre": "GENRE",
    "track": "TRACKNUMBER",
    "disc": "DISCNUMBER",
    "composer": "COMPOSER",
    "copyright": "COPYRIGHT",
    "publisher": "PUBLISHER",
    "performer": "PERFORMER",
    "conductor": "CONDUCTOR",
    "grouping": "GROUPING",
    "language": "LANGUAGE",
    "compilation": "COMPILATION",
    "bpm": "BPM",
    "artist-sort": "ARTISTSORT",
    "album-sort": "ALBUMSORT",
    "comment": "COMMENT",
    "lyrics": "LYRICS",
}
"""By what FLAC and Ogg call them."""
MP4_NAMES = (
    *("title", "artist", "album", "album_artist", "date", "genre", "track", "disc", "composer", "copyright"),
    *("grouping", "compilation", "comment", "lyrics"),
)
"""Those that FFmpeg's muxer has an atom for by these names; the tempo it calls `tmpo`."""
INFO_FIELDS = {
    "title": "title",
    "artist": "artist",
    "album": "album",
    "date": "date",
    "genre": "genre",
    "track": "tracknumber",
    "copyright": "copyright",
    "comment": "comment",
}
"""What RIFF's LIST INFO has, by the names of `soundfile`."""
LONGEST_INFO = 4096
"""Bytes of one of them: libsndfile keeps a header of 100 KiB at most, and drops the rest in silence."""


def writable(tags: Tags | None) -> Tags:
    """What every container takes. Left out is what it could break on, and a cover that is empty or too large.

    Names that a container has no field for are left out where it is written, and so is what names this very
    recording: its ISRC, and its title for sorting, which doesn't know the stem's.
    """
    if tags is None:
        return Tags()
    values = {name: value for name, value in tags.values.items() if _is_text(value)}
    cover = tags.cover
    return Tags(values, cover if cover is not None and 0 < len(cover.data) <= LARGEST_COVER else None)


def _is_text(value: str) -> bool:
    """Not empty, no stranger to UTF-8 (lone surrogates), and without NUL, which ends or splits values."""
    if not value or len(value) > LONGEST_VALUE or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def info_values(tags: Tags) -> dict[str, str]:
    """For LIST INFO, by the names of `soundfile`. `tags` are writable ones, here and below."""
    found = {field: tags.values[name] for name, field in INFO_FIELDS.items() if name in tags.values}
    return {field: value for field, value in found.items() if len(value.encode()) <= LONGEST_INFO}


def vorbis_comment(vendor: bytes, tags: Tags, *extra: str) -> bytes:
    """Vorbis I, 5.2.1: the vendor, then every field as NAME=value; `extra` are such fields too."""
    fields = [f"{VORBIS_FIELDS[name]}={value}" for name, value in tags.values.items() if name in VORBIS_FIELDS]
    parts = [vendor, *(field.encode() for field in (*fields, *extra))]
    counted = [len(part).to_bytes(4, "little") + part for part in parts]
    return counted[0] + len(counted[1:]).to_bytes(4, "little") + b"".join(counted[1:])


def flac_picture(cover: Cover) -> bytes:
    """RFC 9639, 8.8: the front cover. Its size and colours are 0, not known: nobody here decodes it."""
    kind = cover.media_type.encode()
    numbers = [3, len(kind)], [0, 0, 0, 0, 0, len(cover.data)]
    before, after = (b"".join(number.to_bytes(4, "big") for number in some) for some in numbers)
    return before + kind + after + cover.data


def mp4_values(tags: Tags) -> dict[str, str]:
    """By the names of FFmpeg's muxer. What is a number there is left out where its 16 bits can't hold it."""
    values = {name: value for name, value in tags.values.items() if name in MP4_NAMES}
    if values.get("compilation", "1") != "1":
        del values["compilation"]
    values["tmpo"] = tags.values.get("bpm", "")
    for name in ("track", "disc", "tmpo"):
        number = _mp4_number(values.pop(name, ""))
        if number:
            values[name] = number
    return values


def _mp4_number(value: str) -> str:
    """ "3/12" or "3" with both within 16 bits, else nothing."""
    numbers = value.removesuffix("/").split("/")
    if len(numbers) > 2 or not all(number.isdecimal() and len(number) < 6 for number in numbers):
        return ""
    return "/".join(str(int(number)) for number in numbers) if all(int(number) < 2**16 for number in numbers) else ""
