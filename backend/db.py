"""The database: one engine, read sessions and write sessions.

Write sessions on SQLite take the write lock at their start (BEGIN IMMEDIATE): a transaction that reads
first and writes later would otherwise fail with SQLITE_BUSY when another writer came between.
Read sessions never wait: the journal is in WAL mode.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from backend.settings import Settings


class Database:
    def __init__(self, settings: Settings) -> None:
        self.url = make_url(settings.database_url)
        self.engine = self._sqlite(settings) if self.is_sqlite else self._server(settings)
        self._writing = self.engine.execution_options(write=True)

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Callbacks given to `after_commit` run after the commit, and only then.
        """
        with Session(self._writing, expire_on_commit=False) as session:
            yield session
            session.commit()
            for callback in session.info.pop(_CALLBACKS, ()):
                callback()

    def dispose(self, *, close: bool = True) -> None:
        """Drop pooled connections; a forked child does so with `close=False`, they are its parent's."""
        self.engine.dispose(close=close)

    def _server(self, settings: Settings) -> Engine:
        # READ COMMITTED: every statement that changes a balance or a state is guarded by itself.
        return create_engine(
            self.url,
            hide_parameters=True,  # errors end up in logs, and parameters hold addresses and hashes
            pool_size=settings.db.pool_size,
            max_overflow=settings.db.pool_size,
            pool_pre_ping=True,
            pool_timeout=10,
            connect_args={"connect_timeout": 5} if self.url.get_backend_name() == "postgresql" else {},
        )

    def _sqlite(self, settings: Settings) -> Engine:
        if self.url.database and self.url.database != ":memory:":
            Path(self.url.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(
            self.url,
            hide_parameters=True,
            pool_size=settings.db.pool_size,
            max_overflow=40,
            connect_args={"timeout": settings.db.busy_timeout_seconds, "check_same_thread": False},
        )
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine


_CALLBACKS = "after_commit"


def after_commit(session: Session, callback: Callable[[], None]) -> None:
    """Run `callback` once the session's transaction has been committed (never when it is rolled back)."""
    session.info.setdefault(_CALLBACKS, []).append(callback)


def is_unreachable(error: BaseException) -> bool:
    """Whether the database itself is away or too busy, as against a statement that it refused."""
    if isinstance(error, OperationalError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # pysqlite starts no transaction of its own: `_begin_sqlite` does
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
