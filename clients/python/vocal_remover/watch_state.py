"""What a watch remembers of each song, in a file that is always whole."""

from __future__ import annotations

import json
import os
import sys
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from vocal_remover.errors import VocalRemoverError
from vocal_remover.records import Wishes

FILE = ".vocal-remover-watch.json"
LOCK = ".vocal-remover-watch.lock"


class AlreadyWatching(VocalRemoverError):
    """Another process writes to this folder."""


@dataclass
class Song:
    """How far a song is. A song of other size or time under the same name is another one."""

    size: int
    changed: int
    """Nanoseconds, as the file system says."""
    folder: str
    """Of its stems, below the watch's."""
    wishes: Wishes = field(default_factory=lambda: Wishes())
    """As they were when the song was first seen: under one key goes one order."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """For its order: an order that was sent just before a crash is not made twice."""
    upload_id: str | None = None
    task_id: str | None = None
    done: bool = False


class State:
    """Raises AlreadyWatching; of one process at a time."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._lock = _locked(folder / LOCK)
        self.songs: dict[str, Song] = {}
        if self._path.is_file():
            rows = json.loads(self._path.read_text("utf-8"))
            self.songs = {name: Song(**row) for name, row in rows.items()}

    def save(self) -> None:
        rows = {name: asdict(song) for name, song in self.songs.items()}
        fresh = self._path.with_name(f"{FILE}.new")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)

    def begin(self, name: str, size: int, changed: int, wishes: Wishes) -> Song | None:
        """The song as far as it is; a new one when there is none like it; None when it is done."""
        song = self.songs.get(name)
        if song is None or (song.size, song.changed) != (size, changed):
            taken = {other.folder for known, other in self.songs.items() if known != name}
            short = Path(name).stem
            # "song.mp3" and "song.wav" are two songs.
            song = Song(size, changed, f"{name} stems" if short in taken else short, wishes)
            self.songs[name] = song
            self.save()
        return None if song.done else song

    def send_again(self, song: Song) -> None:
        """Its upload is gone, and a new one is another order."""
        song.upload_id, song.key = None, uuid.uuid4().hex
        self.save()

    def forget(self, name: str) -> None:
        if self.songs.pop(name, None) is not None:
            self.save()

    def close(self) -> None:
        self._lock.close()


def _locked(path: Path) -> IO[str]:
    file = path.open("w")
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise AlreadyWatching(f"Another process is watching for {path.parent}.") from None
    return file
