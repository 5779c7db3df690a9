"""Backup and restore of the whole service: the database of one moment, and every file that its rows name.

Files are written once and never changed, so what a snapshot's rows name can be copied afterwards. What was deleted in
between is missing then: the next round takes a newer snapshot, and copies what is new since.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from sqlalchemy.orm import Session

from backend.backup import manifest, repository
from backend.backup.database import FILES, BackupFailed, dumped, is_empty, load
from backend.backup.manifest import LISTED, Listed, Manifest, NoBackup
from backend.clock import utc_now
from backend.credit import service as credit
from backend.db import Database
from backend.inventory import service as inventory
from backend.storage import Storage

ROUNDS = 10
ROOMS = ("uploads", "output")


def back_up(database: Database, storage: Storage, folder: Path) -> Manifest:
    """Into a folder that is new or empty. Raises BackupFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise BackupFailed(f"{folder} is not empty: each backup has a folder of its own.")
    os.chmod(folder, 0o700)  # it holds what the database holds
    for _ in range(ROUNDS):
        found = _snapshot(database, folder)
        # Each once: songs of the same content share one.
        lacking = {file.key for file in manifest.listed(folder / LISTED) if not _copied(storage, folder, file)}
        lost = inventory.still_named(database, lacking)
        if len(lost) == len(lacking):
            break
    else:
        raise BackupFailed("Files are deleted faster than they are copied: try again when less is going on.")
    number, size = _prune(folder)
    found = replace(found, files=number, bytes=size, lacking=sorted(lost))
    os.sync()
    manifest.write(folder, found)
    return found


def restore(database: Database, storage: Storage, folder: Path) -> Manifest:
    """Into an empty database and an empty storage. Raises NoBackup, BackupFailed, before or after files came over.

    A service that is started on this machine meanwhile is the caller's to keep away.
    """
    found = manifest.read(folder)
    file = folder / FILES[found.database]
    for part, digest in ((file, found.database_sha256), (folder / LISTED, found.listed_sha256)):
        if not part.is_file() or manifest.sha256(part) != digest:
            raise NoBackup(f"{part} is missing or was changed since the backup was made.")
    if database.url.get_backend_name() != found.database:
        raise BackupFailed(f"The backup is of {found.database}: VR_DB__URL must name an empty database of that kind.")
    _refuse_filled(database)
    if inventory.owner_of(storage) or any(next(storage.listed(room), None) for room in ROOMS):
        raise BackupFailed("The storage is not empty: a backup is restored into an empty one.")
    for each in manifest.listed(folder / LISTED):
        if each.key not in found.lacking:
            _put(storage, folder, each)
    _refuse_filled(database)  # again: files may have taken hours, and a service may have been started meanwhile
    load(database, file)
    with database.read() as session:
        if repository.counts(session) != found.rows:
            raise BackupFailed("The database has other numbers of rows than the backup says: empty it, try again.")
    return found


def ledger_faults(session: Session) -> list[str]:
    """A sentence for each balance that its entries don't give."""
    return [f"{wrong.what}: entries say {wrong.expected}, found {wrong.found}" for wrong in credit.verify(session)]


def _refuse_filled(database: Database) -> None:
    if not is_empty(database):
        raise BackupFailed("The database is not empty: a backup is restored into an empty one.")


def _snapshot(database: Database, folder: Path) -> Manifest:
    """The database's file and the list of what its rows name; the manifest, but for the files themselves."""
    with dumped(database, folder) as (file, session):
        with (folder / LISTED).open("w", encoding="utf-8") as lines:
            for named in inventory.every(session):
                line = asdict(Listed(named.key, named.size, named.sha256))
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        return Manifest(
            made_at=utc_now().isoformat(timespec="seconds"),
            database=database.url.get_backend_name(),
            revision=repository.revision(session),
            rows=repository.counts(session),
            ledger=ledger_faults(session),
            files=0,
            bytes=0,
            lacking=[],
            database_sha256=manifest.sha256(file),
            listed_sha256=manifest.sha256(folder / LISTED),
        )


def _copied(storage: Storage, folder: Path, file: Listed) -> bool:
    """Whether it is in the backup, whole."""
    target = _place(folder, file.key)
    if target.is_file():
        return True
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with storage.local(file.key) as source:
            shutil.copyfile(source, part)
    except FileNotFoundError:
        return False
    if manifest.sha256(part) != file.sha256:
        part.unlink()
        return False
    part.replace(target)
    return True


def _put(storage: Storage, folder: Path, file: Listed) -> None:
    source = _place(folder, file.key)
    with storage.incoming("restore") as room:
        copy = room / "file"
        if _is_there(storage, file.key):  # songs of the same content share one
            return
        try:
            shutil.copyfile(source, copy)
        except FileNotFoundError:
            raise NoBackup(f"{source} is missing: the backup is not whole.") from None
        if manifest.sha256(copy) != file.sha256:
            raise NoBackup(f"{source} was changed since the backup was made.")
        storage.adopt(copy, file.key)


def _is_there(storage: Storage, key: str) -> bool:
    try:
        storage.size(key)
    except FileNotFoundError:
        return False
    return True


def _place(folder: Path, key: str) -> Path:
    files = (folder / manifest.FILES).resolve()
    place = (files / key).resolve()
    if not place.is_relative_to(files):
        raise NoBackup(f"key outside the backup: {key!r}")
    return place


def _prune(folder: Path) -> tuple[int, int]:
    """Remove what an earlier round copied and the last one's rows no longer name; number and bytes of the rest."""
    wanted = folder / "wanted"
    number = size = 0
    for file in manifest.listed(folder / LISTED):
        source = _place(folder, file.key)
        if source.is_file():
            target = wanted / file.key
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            number, size = number + 1, size + file.size
    wanted.mkdir(exist_ok=True)
    files = folder / manifest.FILES
    shutil.rmtree(files, ignore_errors=True)
    wanted.replace(files)
    return number, size
