"""Which songs a command line means: files, folders with all that is below them, and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import EngineError

SUFFIXES = frozenset(
    {".mp3", ".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".aifc"}
)
"""What is taken for a song in a folder. A file that is named is tried whatever its ending."""
RECEIPT = "receipt.json"
"""A folder with it holds stems, not songs."""


class SongMissing(EngineError):
    """An argument names no file, or a folder or a pattern without songs."""

    code = "song_missing"
    advice = "Name a song, a folder that holds some, or a pattern in quotes such as 'music/**/*.mp3'."


@dataclass(frozen=True, slots=True)
class Song:
    path: Path
    below: Path
    """Where its folder of stems belongs, relative to the output folder."""


def find_songs(arguments: Sequence[str], output: Path) -> Iterator[Song | SongMissing]:
    """Songs in the order of the arguments, each once; a SongMissing stands for an argument without any.

    What a folder or a pattern finds keeps its place: `music/live/song.mp3` of `music` belongs to `live/`.
    """
    seen: set[Path] = set()
    for argument in arguments:
        found = list(_expand(argument, output.resolve()))
        if not found:
            yield SongMissing(f"There is no song {argument!r}.")
        for song in found:
            real = song.path.resolve()
            if real not in seen:
                seen.add(real)
                yield song


def _expand(argument: str, output: Path) -> Iterator[Song]:
    path = Path(argument)
    if not argument:
        return  # of an unset variable: not the current folder
    if path.is_dir():
        yield from _in_folder(path, path, output)
    elif path.exists():
        yield Song(path, Path())
    elif glob.has_magic(argument):
        top = _before_magic(path)
        for name in sorted(glob.glob(argument, recursive=True)):
            found = Path(name)
            if found.is_dir():
                if "**" not in path.parts:  # which names everything below by itself
                    yield from _in_folder(found, top, output)
            elif _is_song(found) and not _holds_stems(found.parent, output):
                yield Song(found, found.parent.relative_to(top))


def _in_folder(folder: Path, top: Path, output: Path) -> Iterator[Song]:
    # os.walk does not follow links to folders: they could lead in circles.
    for here, folders, files in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if _holds_stems(place, output):
            folders.clear()
            continue
        for name in sorted(files):
            if _is_song(place / name):
                yield Song(place / name, place.relative_to(top))


def _is_song(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _holds_stems(folder: Path, output: Path) -> bool:
    """The output folder may lie among the songs; what is in it must not be separated again."""
    return folder.resolve().is_relative_to(output) or (folder / RECEIPT).is_file()


def _before_magic(path: Path) -> Path:
    plain: list[str] = []
    for part in path.parts[:-1]:
        if glob.has_magic(part):
            break
        plain.append(part)
    return Path(*plain)
