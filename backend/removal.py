"""Files that go once a transaction has committed, however this process ends.

What is to go is written down first, in a file beside the songs; after the commit the files are removed, then that
list. A process that dies in between leaves the list, and the sweep goes on with it: by then the rows say whether the
transaction was committed. A row never promises a file that is gone.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from backend.identity import new_id
from backend.logs import here
from backend.storage import Storage, StorageAway

log = logging.getLogger(__name__)

ROOM = "leaving"
PATIENCE_SECONDS = 3.0
"""How long a request waits until its files are removed."""
AT_ONCE = 16
"""Threads of a process that remove files for requests, with those that a storage hangs on to."""

_free = threading.BoundedSemaphore(AT_ONCE)


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


def announce(storage: Storage, tasks: Mapping[UUID, str], uploads: Mapping[UUID, str]) -> Leaving:
    """Before the commit. If none comes, the list stays a while and then goes without harm (`remaining`)."""
    leaving = Leaving(f"{ROOM}/{new_id()}.json", tasks, uploads)
    listed = {name: {str(row): key for row, key in keys.items()} for name, keys in _both(leaving)}
    with storage.incoming("leaving") as folder:
        file = folder / "list.json"
        file.write_text(json.dumps(listed), encoding="utf-8")
        storage.adopt(file, leaving.key)
    return leaving


def finish(storage: Storage, leaving: Leaving, unused: Callable[[list[str]], list[str]]) -> bool:
    """After the commit: the files, then the list. False when something could not be removed: it is tried again.

    `unused`: of songs' files, those that no row has that is kept.
    """
    if not remove(storage, [*leaving.tasks.values(), *unused(list(leaving.uploads.values()))]):
        return False
    forget(storage, leaving)
    return True


def remove(storage: Storage, keys: Iterable[str]) -> bool:
    """Whether all of them are gone."""
    gone, sought = True, []
    for key in keys:
        if "*" in key:
            sought.append(UUID(key.rpartition("/")[2]))
        else:
            gone = storage.delete(key) and gone
    try:
        for folder in list(storage.folders(sought)) if sought else ():
            gone = storage.delete(folder) and gone
    except StorageAway:
        return False
    return gone


def remove_soon(storage: Storage, keys: Collection[str]) -> bool:
    """The same for a request, which doesn't wait for it for long; only of what nothing ever comes to again.

    What takes longer goes on in a thread that doesn't keep the process; what fails there, or finds no thread free, is
    left to the check for orphans.
    """
    until, removed = time.monotonic() + PATIENCE_SECONDS, Future[bool]()
    if not _free.acquire(timeout=PATIENCE_SECONDS):
        log.error("%s may still be in the storage, which hangs", ", ".join(keys))
        return False

    def run() -> None:
        try:
            removed.set_result(remove(storage, keys))
        except BaseException as error:
            removed.set_exception(error)
        finally:
            _free.release()

    try:
        threading.Thread(target=here(run), name="removal", daemon=True).start()
    except RuntimeError:  # no thread is to be had: then it is done here
        run()
    try:
        return removed.result(max(0.0, until - time.monotonic()))
    except NotYet:
        return False


def forget(storage: Storage, leaving: Leaving) -> None:
    storage.delete(leaving.key)


def remaining(storage: Storage) -> Iterator[tuple[Leaving, datetime]]:
    """Lists of processes that are not done yet, or died; and since when each is there."""
    for stored in list(storage.listed(ROOM)):
        try:
            listed = json.loads(b"".join(storage.read(stored.key)))
        except FileNotFoundError:  # its process is done
            continue
        tasks, uploads = ({UUID(row): key for row, key in listed[name].items()} for name in ("tasks", "uploads"))
        yield Leaving(stored.key, tasks, uploads), stored.modified


def _both(leaving: Leaving) -> Iterator[tuple[str, Mapping[UUID, str]]]:
    yield "tasks", leaving.tasks
    yield "uploads", leaving.uploads
