"""Files against rows: files that no row names, and rows that lack their file.

Both are walked in pages, so a million of them take no more memory than a few. Nothing is locked: what a file's row
says is asked when the file is looked at, and asked again before anything is removed. A file is in its place before
its row is written, so young files are left alone.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.clock import utc_now
from backend.db import Database
from backend.inventory import repository
from backend.inventory.repository import PAGE, Named
from backend.storage import Storage

log = logging.getLogger(__name__)

Kind = Literal["named", "young", "orphan", "strange", "unremoved", "lacking", "damaged"]

GRACE = timedelta(hours=24)
"""Longer than any worker waits for its database, or than hosts' clocks differ."""
LEAST_GRACE = timedelta(hours=1)
MOST_ORPHANS = 0.1
"""Share of all files, above which it is rather the database that is wrong."""
FEW = 100
"""So few orphans may be any share."""

OWNER = "inventory/owner.json"
LAST = "inventory/last.json"
_ID = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_SONG = re.compile(rf"uploads/{_ID}/{_ID}/source")
_RESULT = re.compile(rf"output/[^/]+/{_ID}/(?:\d+|parts)/.+")


class InventoryRefused(Exception):
    """Why nothing was removed, in a sentence."""


@dataclass(frozen=True, slots=True)
class Found:
    """`named` and `young` are as they should be.

    orphan: no row names it. strange: not a key of ours, never removed. unremoved: of deleted rows, whose process died;
    the sweep goes on with it. lacking: a row has no such file. damaged: its size or its sha256 is not the row's.
    """

    kind: Kind
    key: str
    size: int


def check(database: Database, storage: Storage, *, grace: timedelta = GRACE, hashes: bool = False) -> Iterator[Found]:
    """Every file, then every row that lacks one. With `hashes` every file that a row names is read."""
    yield from _files(database, storage, grace)
    yield from _lacking(database, storage, hashes)


def remove_orphans(
    database: Database, storage: Storage, *, grace: timedelta = GRACE, force: bool = False
) -> Iterator[Found]:
    """Each orphan, when it has been removed. Raises InventoryRefused before the first."""
    require_ours(database, storage)
    if not force:
        _refuse_many(database, storage, grace)
    for found in _files(database, storage, grace):
        if found.kind == "orphan":
            storage.delete(found.key)
            log.info("removed %s, %d bytes: no row names it", found.key, found.size)
            yield found


def require_ours(database: Database, storage: Storage) -> None:
    """Raises InventoryRefused when the files are not this database's: then none of them has a row."""
    ours, owner = _identity(database), owner_of(storage)
    if ours is None:
        raise InventoryRefused("The database is empty: run `vocal-remover prepare`, or restore it.")
    if owner is None:
        raise InventoryRefused("The storage has no owner yet: `vocal-remover storage claim` says that it is ours.")
    if owner != ours:
        raise InventoryRefused(
            f"The storage belongs to database {owner}, and this one is {ours}: is VR_DB__URL right? "
            "If it is, `vocal-remover storage claim` gives the storage to this one."
        )


def owner_of(storage: Storage) -> UUID | None:
    """The database whose files these are."""
    try:
        with storage.local(OWNER) as path:
            return UUID(json.loads(path.read_text(encoding="utf-8"))["database"])
    except FileNotFoundError:
        return None


def claim(database: Database, storage: Storage, *, anew: bool = False) -> bool:
    """Write down whose files these are; with `anew` also when they were another's. Whether they are ours now.

    Raises InventoryRefused for an empty database.
    """
    ours = _identity(database)
    if ours is None:
        raise InventoryRefused("The database is empty: run `vocal-remover prepare`, or restore it.")
    owner = owner_of(storage)
    if owner is None or (anew and owner != ours):
        _write(storage, OWNER, {"database": str(ours)})
        owner = ours
    return owner == ours


def begin(storage: Storage, every: timedelta) -> bool:
    """Whether the last look at the storage, by any host, began longer ago; if so, another has begun now."""
    looks = (file.modified for file in storage.listed(LAST.partition("/")[0]) if file.key == LAST)
    due = utc_now() - next(looks, datetime.min.replace(tzinfo=UTC)) >= every
    if due:
        _write(storage, LAST, {"began_at": utc_now().isoformat()})
    return due


def _write(storage: Storage, key: str, content: dict[str, str]) -> None:
    with storage.incoming("inventory") as folder:
        file = folder / "file.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        storage.adopt(file, key)


def every(session: Session) -> Iterator[Named]:
    """All files that the rows which the session sees promise."""
    return repository.every(session)


def still_named(database: Database, keys: Iterable[str]) -> list[str]:
    """Those of these keys that a row names now."""
    keys = list(keys)
    return [key for start in range(0, len(keys), PAGE) for key in _named(database, keys[start : start + PAGE])]


def _identity(database: Database) -> UUID | None:
    with database.read() as session:
        return repository.identity(session)


def _refuse_many(database: Database, storage: Storage, grace: timedelta) -> None:
    orphans = files = 0
    for found in _files(database, storage, grace):
        files += 1
        orphans += found.kind == "orphan"
    if orphans > FEW and orphans > files * MOST_ORPHANS:
        raise InventoryRefused(
            f"{orphans} of {files} files have no row: is this an older database than the files are? Look at them "
            "with `vocal-remover storage check`; `--remove --force` removes them all the same."
        )


def _files(database: Database, storage: Storage, grace: timedelta) -> Iterator[Found]:
    old = utc_now() - grace
    for room in ("uploads", "output"):
        listed = storage.listed(room)
        while page := list(islice(listed, PAGE)):
            named = _named(database, [file.key for file in page])
            for file in page:
                kind: Kind
                if file.key in named:
                    kind = "named"
                elif _ids(file.key) is None:
                    kind = "strange"
                else:
                    kind = "young" if file.modified > old else "orphan"
                yield Found(kind, file.key, file.size)
    for file in storage.listed("leaving"):
        yield Found("young" if file.modified > old else "unremoved", file.key, file.size)


def _named(database: Database, keys: Iterable[str]) -> set[str]:
    """Those that a row names, or that an unfinished task has written."""
    ids = [(key, found) for key in keys if (found := _ids(key))]
    songs = [key for key, (room, _) in ids if room == "uploads"]
    tasks = {row for _, (room, row) in ids if room == "output"}
    with database.read() as session:
        named = repository.song_keys(session, songs) | repository.result_keys(session, tasks)
        unfinished = repository.unfinished(session, tasks)
    return {key for key, (room, row) in ids if key in named or (room == "output" and row in unfinished)}


def _ids(key: str) -> tuple[str, UUID] | None:
    """Of a key of ours its room, and the song or task to which it belongs."""
    if song := _SONG.fullmatch(key):
        return "uploads", UUID(song[2])
    if result := _RESULT.fullmatch(key):
        return "output", UUID(result[1])
    return None


def _lacking(database: Database, storage: Storage, hashes: bool) -> Iterator[Found]:
    for read in (repository.songs, repository.results):
        after: UUID | None = None
        while True:
            with database.read() as session:
                page = read(session, after)
            if not page:
                break
            wrong = [found for found in _compare(storage, page, hashes) if found[0] != "named"]
            if wrong:
                with database.read() as session:  # a row that was deleted meanwhile promises nothing
                    still = {row.row: row for row in read(session, after)}
                for kind, row in wrong:
                    if row.row in still:
                        yield Found(kind, row.key, row.size)
            after = page[-1].row


def _compare(storage: Storage, rows: list[Named], hashes: bool) -> Iterator[tuple[Kind, Named]]:
    """Files of one folder are listed together: one request for all stems of a task."""
    for folder, group in groupby(rows, lambda row: row.key.rpartition("/")[0]):
        sizes = {file.key: file.size for file in storage.listed(folder)}
        for row in group:
            if row.key not in sizes:
                yield "lacking", row
            elif sizes[row.key] != row.size or (hashes and sha256_of(storage, row.key) != row.sha256):
                yield "damaged", row
            else:
                yield "named", row


def sha256_of(storage: Storage, key: str) -> str | None:
    """None when it is gone."""
    try:
        with storage.local(key) as path, path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
