"""A migration that has to wait for a table lets everybody else pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from backend import db
from backend.db import Database
from backend.settings import Settings
from migrations import prepare as preparing
from migrations.prepare import migrate, prepare
from tests.servers import _database, _sqlalchemy, empty_settings

FORMER = "0006"


@pytest.fixture
def former(postgres_server: str, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a database that stands where an earlier release left it."""
    with _database(postgres_server) as name:
        settings = empty_settings(tmp_path, _sqlalchemy(postgres_server, name))
        database = Database(settings)
        with database.engine.begin() as connection:
            migrate(connection, FORMER)
        database.dispose()
        yield settings


def plain(settings: Settings) -> psycopg.Connection:
    return psycopg.connect(settings.db.url.replace("+psycopg", ""))


def test_requests_pass_while_a_migration_waits(former: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody reads `task` in a long transaction: without a limit, everybody else would stand behind the migration."""
    monkeypatch.setattr(preparing, "PAUSE_SECONDS", 0.2)
    with plain(former) as long, ThreadPoolExecutor(1) as pool:
        long.execute("SELECT count(*) FROM task")
        prepared = pool.submit(prepare, former)
        waits, give_up = threading.Event(), time.monotonic() + 60
        slowest = 0.0
        with plain(former) as other:
            other.autocommit = True
            while slowest < 0.1 * preparing.LOCK_MILLISECONDS / 1000 or not waits.is_set():
                assert time.monotonic() < give_up, "the migration never waited for the table"
                assert not prepared.done(), prepared.exception()
                waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
                if other.execute(waiting).fetchone() != (0,):
                    waits.set()
                began = time.monotonic()
                other.execute("SELECT count(*) FROM task")  # behind the migration, for as long as that waits
                slowest = max(slowest, time.monotonic() - began)
        assert slowest < 10 * preparing.LOCK_MILLISECONDS / 1000
        long.rollback()
        prepared.result(60)
    database = Database(former)
    with database.engine.begin() as connection:
        migrate(connection, "head")  # nothing is left to do
    database.dispose()


def test_it_gives_up_in_the_end(former: Settings) -> None:
    with plain(former) as long:
        long.execute("SELECT count(*) FROM task")
        with pytest.raises(OperationalError, match="lock timeout"):
            prepare(former, patience_seconds=0)


def test_hosts_that_prepare_at_once_wait_for_each_other(former: Settings) -> None:
    """Longer than for a table: the one that is first may take its time."""
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(prepare, former) for _ in range(3)]:
            done.result(100)


def test_a_host_waits_longer_for_another_s_migration_than_for_a_row(
    former: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(former)
    monkeypatch.setitem(db.POSTGRESQL, "options", "-c lock_timeout=200ms")
    with plain(former) as other, ThreadPoolExecutor(1) as pool:
        other.execute("SELECT pg_advisory_xact_lock(%s)", (preparing.LOCK,))
        prepared = pool.submit(prepare, former, 0)
        time.sleep(2)
        assert not prepared.done()
        other.rollback()
        prepared.result(60)
