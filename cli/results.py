"""The folder of one song's result: which one it is, whether it is there already, and how it appears.

A result is made in a hidden folder beside its place and moved there when it is whole, receipt and all. So a
folder with a receipt is complete, whatever killed the process that made it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Literal

from cli.songs import RECEIPT, Song
from engine.errors import EngineError, SeparationCancelled

LONGEST_NAME = 240
"""Bytes; file systems allow 255, and the hidden folder and a number are to fit."""
READ_BYTES = 2**20


class ResultDiffers(EngineError):
    """The song's folder holds stems of another version of the song, or made with other options."""

    code = "result_differs"
    advice = "Give --overwrite to replace them, or another output folder."


class ResultBusy(EngineError):
    """Another process is making this result."""

    code = "result_busy"
    advice = "Wait for the other run, or give another output folder."


class Source:
    """A song's file as it was when its separation began."""

    def __init__(self, path: Path, cancelled: Callable[[], bool]) -> None:
        """Raises OSError for a file that is not there or may not be read."""
        state = path.stat()
        if not os.access(path, os.R_OK):  # the decoder would call it no audio
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        self.path = path.resolve()
        self.size, self.mtime_ns = state.st_size, state.st_mtime_ns
        self._cancelled = cancelled

    @cached_property
    def sha256(self) -> str:
        """Raises SeparationCancelled: a long song takes seconds to read."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while data := file.read(READ_BYTES):
                if self._cancelled():
                    raise SeparationCancelled("The separation was cancelled.")
                digest.update(data)
        return digest.hexdigest()

    def to_json(self) -> dict[str, Any]:
        return {"path": str(self.path), "bytes": self.size, "mtime_ns": self.mtime_ns, "sha256": self.sha256}

    def same_place(self, other: Mapping[str, Any]) -> bool:
        return other.get("path") == str(self.path)

    def same_content(self, other: Mapping[str, Any]) -> bool:
        """By the hash; not read again when the very file is as old and as long as it was."""
        if other.get("bytes") != self.size:
            return False
        if self.same_place(other) and other.get("mtime_ns") == self.mtime_ns:
            return True
        return bool(other.get("sha256") == self.sha256)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a song's result belongs, and what lies there: nothing, the result that is wanted, one that is wanted
    but lacks a file, or one of this song made otherwise."""

    folder: Path
    holds: Literal["nothing", "done", "incomplete", "other"]


def find_place(output: Path, song: Song, source: Source, options: Mapping[str, Any]) -> Place:
    """The folder named like the song, or with a number where that belongs to another song."""
    name = _short(song.path.stem)
    for number in count(1):
        folder = output / song.below / (name if number == 1 else f"{name}-{number}")
        receipt = read_receipt(folder)
        if receipt is None:
            if _free(folder):
                return Place(folder, "nothing")
            continue
        known = receipt.get("source")
        known = known if isinstance(known, dict) else {}
        if source.same_content(known) and receipt.get("options") == options:
            return Place(folder, "done" if _whole(folder, receipt) else "incomplete")
        if source.same_content(known) or source.same_place(known):
            return Place(folder, "other")
    raise AssertionError("unreachable")


@contextmanager
def staged(folder: Path, output: Path) -> Iterator[Path]:
    """An empty hidden folder beside `folder` to work in; what `publish` did not move is removed at the end.

    Raises ResultBusy while another process works on the same folder.
    """
    part = folder.with_name(f".{folder.name}.part")
    part.mkdir(parents=True, exist_ok=True)
    handle = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        _lock(handle, part)
        try:
            _empty(part)  # a killed run may have left something
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)
            for parent in folder.parents:
                if parent == output or not parent.is_relative_to(output):
                    break
                with suppress(OSError):  # it holds something
                    parent.rmdir()
    finally:
        os.close(handle)


def publish(part: Path, folder: Path, receipt: Mapping[str, Any]) -> None:
    """Move a finished result to its place, replacing an older one and nothing else that may lie there."""
    _write_receipt(part, receipt)
    if not folder.exists():
        part.rename(folder)
        return
    old = read_receipt(folder)
    (folder / RECEIPT).unlink(missing_ok=True)
    for name in _files(old or {}):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(part.iterdir(), key=lambda path: path.name == RECEIPT):
        path.replace(folder / path.name)


def add_file(path: Path, folder: Path, receipt: Mapping[str, Any]) -> dict[str, Any]:
    """Move one more file to a finished result; returns its new receipt."""
    size = path.stat().st_size
    path.replace(folder / path.name)
    receipt = {**receipt, "files": {**_files(receipt), path.name: size}}
    _write_receipt(path.parent, receipt)
    (path.parent / RECEIPT).replace(folder / RECEIPT)
    return receipt


def list_files(folder: Path) -> dict[str, int]:
    """Name → bytes, for a receipt."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.name != RECEIPT}


def read_receipt(folder: Path) -> dict[str, Any] | None:
    try:
        receipt = json.loads((folder / RECEIPT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return receipt if isinstance(receipt, dict) else None


def _write_receipt(folder: Path, receipt: Mapping[str, Any]) -> None:
    with (folder / RECEIPT).open("w", encoding="utf-8") as file:
        file.write(json.dumps(receipt, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _whole(folder: Path, receipt: Mapping[str, Any]) -> bool:
    """Whether every file of a result is still there, as long as it was."""
    files = _files(receipt)
    with suppress(OSError):
        return bool(files) and all((folder / name).stat().st_size == size for name, size in files.items())
    return False


def _files(receipt: Mapping[str, Any]) -> dict[str, int]:
    """Only names of files in the folder itself: a receipt may come from anywhere."""
    files = receipt.get("files")
    files = files if isinstance(files, dict) else {}
    return {name: size for name, size in files.items() if name == Path(name).name and name not in ("", "..")}


def _free(folder: Path) -> bool:
    if folder.is_dir():
        return not any(folder.iterdir())
    return not os.path.lexists(folder)


def _lock(handle: int, part: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The other one may have finished, and moved the folder away, just before.
        if os.stat(part).st_ino == os.fstat(handle).st_ino:
            return
    except (BlockingIOError, FileNotFoundError):
        pass
    raise ResultBusy("Another run is separating this song into the same folder.")


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _short(name: str) -> str:
    """As a folder's name: not hidden, and never `..`."""
    return os.fsencode(name)[:LONGEST_NAME].decode("utf-8", "ignore").strip().lstrip(".") or "song"
