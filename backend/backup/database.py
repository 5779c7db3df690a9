"""A database as one file: of one moment, while others go on writing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import URL, create_engine, inspect
from sqlalchemy.orm import Session

from backend.backup import repository
from backend.db import Database

FILES = {"sqlite": "database.sqlite", "postgresql": "database.dump"}


class BackupFailed(Exception):
    """Why, and what to do, in a sentence."""


@contextmanager
def dumped(database: Database, folder: Path) -> Iterator[tuple[Path, Session]]:
    """The file in `folder`, in place of an older one, and a session that sees just what is in it. Raises
    BackupFailed."""
    file = folder / FILES[database.url.get_backend_name()]
    file.unlink(missing_ok=True)
    if database.is_sqlite:
        # Not the file itself, which is half of it: the newest pages lie in its journal. No erased words come along.
        with closing(sqlite3.connect(_existing(database.url), timeout=60)) as connection:
            connection.execute("VACUUM INTO ?", (str(file),))
        engine = create_engine(f"sqlite:///file:{file}?mode=ro&uri=true")
    else:
        engine = database.engine.execution_options(isolation_level="REPEATABLE READ")
    try:
        with Session(engine) as session:
            if not database.is_sqlite:
                options = ["--format=custom", f"--snapshot={repository.exported_snapshot(session)}", f"--file={file}"]
                _run("pg_dump", database.url, *options)
            yield file, session
    finally:
        if database.is_sqlite:
            engine.dispose()


def load(database: Database, file: Path) -> None:
    """Into an empty database. Raises BackupFailed."""
    if not database.is_sqlite:
        _run("pg_restore", database.url, "--single-transaction", "--exit-on-error", str(file))
        return
    target = Path(str(database.url.database))
    database.dispose()
    target.unlink(missing_ok=True)  # asking whether it was empty has made it
    for name in ("-wal", "-shm"):
        target.with_name(target.name + name).unlink(missing_ok=True)
    shutil.copyfile(file, target)


def is_empty(database: Database) -> bool:
    return not inspect(database.engine).get_table_names()


def _existing(url: URL) -> Path:
    path = Path(str(url.database))
    if not path.is_file():
        raise BackupFailed(f"There is no database at {path}: VR_DATA_DIR or VR_DB__URL names it.")
    return path


def _run(program: str, url: URL, *options: str) -> None:
    """A client program of PostgreSQL; the password is not among its arguments, which everybody on the host sees."""
    found = shutil.which(program)
    if found is None:
        raise BackupFailed(f"{program} is not here: install PostgreSQL's client programs, of the server's version.")
    address = url.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    environment = os.environ | ({"PGPASSWORD": str(url.password)} if url.password else {})
    line = [found, f"--dbname={address}", "--no-owner", "--no-privileges", *options]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BackupFailed(f"{program} failed: {done.stderr.strip() or done.returncode}")
