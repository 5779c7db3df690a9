"""The database: one engine, read sessions and write sessions.

Write sessions on SQLite take the write lock at their start (BEGIN IMMEDIATE): a transaction that reads
first and writes later would otherwise fail with SQLITE_BUSY when another writer came between.
Read sessions never wait: the journal is in WAL mode.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from backend.settings import Settings

UNTRIED_SECONDS = 1.0
"""How long a connection that was good is taken for good."""
POSTGRESQL = {
    "connect_timeout": 5,
    # A server that is gone without a word is noticed.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    # A host that freezes in the middle of a transaction gives its rows back, and nobody waits for a row for ever.
    "options": "-c idle_in_transaction_session_timeout=30s -c lock_timeout=30s",
}
"""Of libpq: seconds, and milliseconds for `tcp_user_timeout`."""


class ReadingSession(Session):
    """Takes a connection for its first statement, and gives it back when it is closed."""


class Database:
    def __init__(self, settings: Settings) -> None:
        self.url = make_url(settings.database_url)
        self.engine = self._sqlite(settings) if self.is_sqlite else self._server(settings)
        self._writing = self.engine.execution_options(write=True)
        # On a server each statement looks at the data anew (READ COMMITTED), whether in a transaction or not; one
        # around statements that only read would cost two round trips.
        self._reading = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self.reader() as session:
            yield session

    def reader(self) -> ReadingSession:
        """For who closes it."""
        return ReadingSession(self._reading, expire_on_commit=False)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises.

        Callbacks given to `after_commit` run after the commit, and only then. A witness is asked before it.
        """
        with Session(self._writing, expire_on_commit=False) as session:
            yield session
            witness = _WITNESS.get()
            if witness is not None:
                witness(session)
            try:
                session.commit()
            finally:  # also when it is not known whether it was
                _COMMITS.one_more()
            for callback in session.info.pop(_CALLBACKS, ()):
                callback()

    def dispose(self, *, close: bool = True) -> None:
        """Drop pooled connections; a forked child does so with `close=False`, they are its parent's."""
        self.engine.dispose(close=close)

    def _server(self, settings: Settings) -> Engine:
        # READ COMMITTED: every statement that changes a balance or a state is guarded by itself.
        engine = create_engine(
            self.url,
            hide_parameters=True,  # errors end up in logs, and parameters hold addresses and hashes
            pool_size=settings.db.pool_size,
            max_overflow=settings.db.pool_size,
            pool_timeout=10,
            connect_args=POSTGRESQL if self.url.get_backend_name() == "postgresql" else {},
        )
        event.listen(engine, "checkin", _note_use)

        @event.listens_for(engine, "checkout")
        def try_after_rest(connection: Any, record: Any, _proxy: Any) -> None:
            """One that lay in the pool may be dead; to try it before each use would cost as much as a statement."""
            used = record.info.get("used")
            if used is None or time.monotonic() - used < UNTRIED_SECONDS:
                return
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise InvalidatePoolError from error  # a new one is made, and the others are tried as well

        return engine

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


class _Commits:
    """A counter that threads need no lock for."""

    def __init__(self) -> None:
        self._counter = itertools.count(1)
        self.latest = 0

    def one_more(self) -> None:
        self.latest = next(self._counter)


_COMMITS = _Commits()
_CALLBACKS = "after_commit"
_WITNESS: ContextVar[Callable[[Session], None] | None] = ContextVar("witness", default=None)


def commits() -> int:
    """Changes with every transaction that this process commits, to whatever database."""
    return _COMMITS.latest


def call_witness(witness: Callable[[Session], None]) -> None:
    """For the rest of a request: it adds to each transaction before that is committed."""
    _WITNESS.set(witness)


def after_commit(session: Session, callback: Callable[[], object]) -> None:
    """Run `callback` once the session's transaction has been committed (never when it is rolled back)."""
    session.info.setdefault(_CALLBACKS, []).append(callback)


def is_unreachable(error: BaseException) -> bool:
    """Whether the database itself is away or too busy, as against a statement that it refused."""
    if isinstance(error, OperationalError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and error.connection_invalidated


def _note_use(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


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
