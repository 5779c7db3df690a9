"""What a song says about itself, to be carried over to its stems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Cover:
    """The picture in front."""

    media_type: Literal["image/jpeg", "image/png"]
    data: bytes


@dataclass(frozen=True, slots=True)
class Tags:
    """`values` by FFmpeg's generic lower-case names: title, artist, album, album_artist, date, track, ..."""

    values: Mapping[str, str] = field(default_factory=dict)
    cover: Cover | None = None

    def for_stem(self, stem: str) -> Tags:
        """The same, with the stem in the title: "Song (vocals)".

        Players show titles, not file names; stems with equal titles would be told apart by nobody. All else
        stays, so that the stems of a song, and of an album, stay together. A song without a title gets none:
        then players do show the file's name, which is the stem's.
        """
        title = self.values.get("title")
        if not title:
            return self
        return replace(self, values={**self.values, "title": f"{title} ({stem})"})
