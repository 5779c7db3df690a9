"""Where rate limits count, beside what `limits` brings: a file for the API processes of one machine, and a way
to go on counting while a shared store is away.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlparse

from limits.storage import MemoryStorage, MovingWindowSupport, Storage, storage_from_string
from limits.storage.base import SlidingWindowCounterSupport, TimestampedSlidingWindow

from backend.rate_windows import Ask, MemoryWindows, OneTripRedis, take
from backend.rate_windows import Told as Window

log = logging.getLogger(__name__)

Told = TypeVar("Told")

AWAY_SECONDS = 5.0
"""How long a store that failed is left alone: a request must not wait for it again and again."""
PATIENCE_SECONDS = 0.5
SWEEP_SECONDS = 60.0
ONE_REDIS = ("redis://", "rediss://", "redis+unix://")
"""Not a cluster, where windows lie on several servers."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS counter (key TEXT PRIMARY KEY, count INTEGER NOT NULL, expires REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entry (key TEXT NOT NULL, at REAL NOT NULL, expires REAL NOT NULL);
CREATE INDEX IF NOT EXISTS entry_of_key ON entry (key, at);
"""


class SqliteStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport, TimestampedSlidingWindow):
    """`sqlite:///path/of/a/file`. Losing the file loses counts and nothing else, so nothing is ever synced."""

    STORAGE_SCHEME = ["sqlite"]

    def __init__(self, uri: str, wrap_exceptions: bool = False, **_: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        self._path = Path(urlparse(uri).path)
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._swept = time.time()

    @property
    def base_exceptions(self) -> type[Exception]:
        return sqlite3.Error

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        with self._writing() as (connection, now):
            connection.execute("DELETE FROM entry WHERE key = ? AND at <= ?", (key, now - expiry))
            taken = connection.execute("SELECT count(*) FROM entry WHERE key = ?", (key,)).fetchone()[0]
            if taken + amount > limit:
                return False
            row = (key, now, now + expiry)
            connection.executemany("INSERT INTO entry (key, at, expires) VALUES (?, ?, ?)", [row] * amount)
            return True

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        with self._reading() as (connection, now):
            statement = "SELECT min(at), count(*) FROM entry WHERE key = ? AND at > ?"
            oldest, taken = connection.execute(statement, (key, now - expiry)).fetchone()
            return (now if oldest is None else oldest), taken

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        with self._writing() as (connection, now):
            previous, current = self.sliding_window_keys(key, expiry, now)
            before, weight, taken, _ = _sliding(connection, previous, current, expiry, now)
            if math.floor(before * weight / expiry + taken) + amount > limit:
                return False
            _add(connection, current, amount, 2 * expiry, now)  # the next window weighs it, too
            return True

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        with self._reading() as (connection, now):
            return _sliding(connection, *self.sliding_window_keys(key, expiry, now), expiry, now)

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        for window in self.sliding_window_keys(key, expiry, time.time()):
            self.clear(window)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        with self._writing() as (connection, now):
            return _add(connection, key, amount, expiry, now)

    def get(self, key: str) -> int:
        with self._reading() as (connection, now):
            return _count(connection, key, now)

    def get_expiry(self, key: str) -> float:
        with self._reading() as (connection, now):
            row = connection.execute("SELECT expires FROM counter WHERE key = ?", (key,)).fetchone()
            return now if row is None else float(row[0])

    def clear(self, key: str) -> None:
        with self._writing() as (connection, _):
            connection.execute("DELETE FROM counter WHERE key = ?", (key,))
            connection.execute("DELETE FROM entry WHERE key = ?", (key,))

    def reset(self) -> int | None:
        with self._writing() as (connection, _):
            counters = connection.execute("DELETE FROM counter").rowcount
            return int(counters + connection.execute("DELETE FROM entry").rowcount)

    def check(self) -> bool:
        try:
            with self._reading() as (connection, _):
                connection.execute("SELECT 1 FROM counter LIMIT 1")
        except sqlite3.Error:
            return False
        return True

    @contextmanager
    def _reading(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        # One connection and a lock: a statement takes microseconds, and threads share one interpreter anyway.
        with self._lock:
            yield self._opened(), time.time()

    @contextmanager
    def _writing(self) -> Iterator[tuple[sqlite3.Connection, float]]:
        with self._lock:
            connection = self._opened()
            connection.execute("BEGIN IMMEDIATE")
            now = time.time()  # after the wait for another process
            try:
                if now - self._swept > SWEEP_SECONDS:
                    self._swept = now
                    for table in ("counter", "entry"):
                        connection.execute(f"DELETE FROM {table} WHERE expires < ?", (now,))
                yield connection, now
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
            connection = sqlite3.connect(
                self._path, timeout=PATIENCE_SECONDS, isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            connection.executescript(SCHEMA)
            self._connection = connection
        return self._connection


def _count(connection: sqlite3.Connection, key: str, now: float) -> int:
    row = connection.execute("SELECT count FROM counter WHERE key = ? AND expires > ?", (key, now)).fetchone()
    return 0 if row is None else int(row[0])


def _add(connection: sqlite3.Connection, key: str, amount: int, expiry: int, now: float) -> int:
    statement = """
        INSERT INTO counter (key, count, expires) VALUES (:key, :amount, :expires)
        ON CONFLICT (key) DO UPDATE SET
            count = CASE WHEN expires > :now THEN count ELSE 0 END + :amount,
            expires = CASE WHEN expires > :now THEN expires ELSE :expires END
        RETURNING count
    """
    values = {"key": key, "amount": amount, "expires": now + expiry, "now": now}
    return int(connection.execute(statement, values).fetchone()[0])


def _sliding(
    connection: sqlite3.Connection, previous: str, current: str, expiry: int, now: float
) -> tuple[int, float, int, float]:
    """(count of the last window, its seconds left, count of this one, its seconds left until it weighs nothing)."""
    before = _count(connection, previous, now)
    left = expiry - now % expiry
    return before, (left if before else 0.0), _count(connection, current, now), left + expiry


class SteadyStorage(Storage, MovingWindowSupport, SlidingWindowCounterSupport):
    """`steady://` with the option `shared`: that store, and this process's memory while it is away.

    Limits then hold for each process by itself: looser, and nobody is turned away because of it.
    """

    STORAGE_SCHEME = ["steady"]

    def __init__(self, uri: str, wrap_exceptions: bool = False, *, shared: str, **options: float | str | bool) -> None:
        super().__init__(uri, wrap_exceptions=wrap_exceptions)
        # By its scheme `limits` finds a class; ours asks Redis once where theirs asks twice for each window.
        one_trip = shared.startswith(ONE_REDIS)
        self.shared = OneTripRedis(shared, **options) if one_trip else storage_from_string(shared, **options)  # type: ignore[arg-type]
        self._own = MemoryWindows()
        self._away_until = 0.0

    @property
    def base_exceptions(self) -> type[Exception]:
        return ValueError

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return self._ask(lambda store: store.acquire_entry(key, limit, expiry, amount))

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        return self._ask(lambda store: store.get_moving_window(key, limit, expiry))

    def acquire_sliding_window_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        return self._ask(lambda store: store.acquire_sliding_window_entry(key, limit, expiry, amount))

    def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        return self._ask(lambda store: store.get_sliding_window(key, expiry))

    def take_windows(self, asks: Sequence[Ask]) -> list[Window]:
        return self._ask(lambda store: take(store, asks))

    def clear_sliding_window(self, key: str, expiry: int) -> None:
        self._ask(lambda store: store.clear_sliding_window(key, expiry))

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return self._ask(lambda store: store.incr(key, expiry, amount))

    def get(self, key: str) -> int:
        return self._ask(lambda store: store.get(key))

    def get_expiry(self, key: str) -> float:
        return self._ask(lambda store: store.get_expiry(key))

    def clear(self, key: str) -> None:
        self._ask(lambda store: store.clear(key))

    def reset(self) -> int | None:
        return self._ask(lambda store: store.reset())

    def check(self) -> bool:
        return True

    def _ask(self, question: Callable[[MemoryStorage], Told]) -> Told:
        if time.monotonic() >= self._away_until:
            try:
                # They share no type that has all of these; memory's says it for all of them.
                return question(cast(MemoryStorage, self.shared))
            except self._failures as error:
                self._away_until = time.monotonic() + AWAY_SECONDS
                log.warning("the store of rate limits is away, this process counts by itself: %s", error)
        return question(self._own)

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        kinds: Any = self.shared.base_exceptions
        return kinds if isinstance(kinds, tuple) else (kinds,)
