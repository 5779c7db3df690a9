"""Files that go once a transaction has committed, however this process ends.

What is to go is written down first, in a file beside the songs; after the commit the files are removed, then that
list. A process that dies in between leaves the list, and the sweep goes on with it: by then the rows say whether the
transaction was committed. A row never promises a file that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from backend.identity import new_id
from backend.storage import LocalStorage

ROOM = "leaving"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Keys of files by the rows that name them: of a song its file, of a task the folder of all its attempts."""

    key: str
    tasks: Mapping[UUID, str]
    uploads: Mapping[UUID, str]

    @property
    def lingers(self) -> bool:
        """It names no song, and what it waits for may come late."""
        return any("*" in key for key in self.tasks.values())


def announce(storage: LocalStorage, tasks: Mapping[UUID, str], uploads: Mapping[UUID, str]) -> Leaving:
    """Before the commit. If none comes, the list stays a while and then goes without harm (`remaining`)."""
    leaving = Leaving(f"{ROOM}/{new_id()}.json", tasks, uploads)
    listed = {name: {str(row): key for row, key in keys.items()} for name, keys in _both(leaving)}
    with storage.incoming("leaving") as folder:
        file = folder / "list.json"
        file.write_text(json.dumps(listed), encoding="utf-8")
        storage.adopt(file, leaving.key)
    return leaving


def finish(storage: LocalStorage, leaving: Leaving) -> bool:
    """After the commit: the files, then the list. False when something could not be removed: it is tried again."""
    keys = [*leaving.tasks.values(), *leaving.uploads.values()]
    if not remove(storage, keys):
        return False
    forget(storage, leaving)
    return True


def remove(storage: LocalStorage, keys: Iterable[str]) -> bool:
    """Whether all of them are gone."""
    gone = True
    for key in keys:
        for each in _found(storage, key):
            storage.delete(each)
            gone = gone and not storage.path(each).exists()
    return gone


def forget(storage: LocalStorage, leaving: Leaving) -> None:
    storage.delete(leaving.key)


def remaining(storage: LocalStorage) -> Iterator[tuple[Leaving, Path]]:
    """Lists of processes that are not done yet, or died; and where each lies."""
    for file in sorted(storage.path(ROOM).glob("*.json")):
        try:
            listed = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:  # its process is done
            continue
        tasks, uploads = ({UUID(row): key for row, key in listed[name].items()} for name in ("tasks", "uploads"))
        yield Leaving(f"{ROOM}/{file.name}", tasks, uploads), file


def _found(storage: LocalStorage, key: str) -> list[str]:
    if "*" not in key:
        return [key]
    return [str(path.relative_to(storage.root)) for path in storage.root.glob(key)]


def _both(leaving: Leaving) -> Iterator[tuple[str, Mapping[UUID, str]]]:
    yield "tasks", leaving.tasks
    yield "uploads", leaving.uploads
