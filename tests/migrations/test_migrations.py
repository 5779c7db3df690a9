"""The database's forms: up, down and up again on both databases, with what only the database can promise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, func, inspect, select, text
from sqlalchemy.exc import IntegrityError

from backend.credit import service as credit
from backend.db import Database
from backend.models import Base, Task, Transfer, User
from backend.settings import Settings, UnsafeSettings
from migrations.prepare import TriggersMissing, migrate, prepare
from migrations.triggers import ON_SQLITE, TRIGGERS, missing_triggers
from tests.servers import on_both
from tests.service import InProcess, Person


@pytest.fixture
def settings(empty_database_url: str, tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path, db={"url": empty_database_url})  # type: ignore[arg-type]


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


def test_up_down_and_up_again(settings: Settings) -> None:
    database = Database(settings)
    with database.engine.execution_options(write=True).connect() as connection:
        for _ in range(2):
            migrate(connection, "head")
            connection.commit()
            assert set(inspect(connection).get_table_names()) >= set(Base.metadata.tables)
            assert _differences(connection) == []
            assert missing_triggers(connection) == frozenset()
            migrate(connection, "base")
            connection.commit()
            assert set(inspect(connection).get_table_names()) <= {"alembic_version"}
            assert missing_triggers(connection) == TRIGGERS | (ON_SQLITE if database.is_sqlite else set())
            if not database.is_sqlite:
                left = "SELECT count(*) FROM pg_proc WHERE proname = 'transfer_refuse'"
                assert connection.execute(text(left)).scalar() == 0
    database.dispose()


def test_preparing_twice_seeds_once(settings: Settings) -> None:
    for _ in range(2):
        prepare(settings)
    database = Database(settings)
    with database.read() as session:
        assert session.scalars(select(User.email)).all() == ["test@example.com"]
        assert session.scalars(select(Transfer.amount)).all() == [10_000]
        assert credit.verify(session) == []
    database.dispose()


def test_a_lost_trigger_is_noticed(settings: Settings) -> None:
    prepare(settings)
    database = Database(settings)
    with database.write() as session:
        session.execute(text("DROP TRIGGER transfer_no_delete" + ("" if database.is_sqlite else " ON transfer")))
    database.dispose()
    with pytest.raises(TriggersMissing, match="transfer_no_delete"):
        prepare(settings)


def test_production_refuses_what_is_only_good_for_development(tmp_path: Path) -> None:
    def production(**values: Any) -> Settings:
        return Settings(_env_file=None, data_dir=tmp_path, environment="production", **values)

    with pytest.raises(UnsafeSettings, match="VR_AUTH__SECRET is the development secret") as both:
        prepare(production(demo_user=True))
    assert "VR_DEMO_USER is on" in str(both.value)
    with pytest.raises(UnsafeSettings, match="shorter than 32"):
        prepare(production(auth={"secret": "short"}))
    with pytest.raises(UnsafeSettings, match="VR_DEMO_USER"):
        prepare(production(auth={"secret": "correct horse battery staple, twice"}, demo_user=True))
    assert list(tmp_path.iterdir()) == []

    safe = production(auth={"secret": "correct horse battery staple, twice"})
    prepare(safe)
    database = Database(safe)
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(User)) == 0
    database.dispose()
    assert safe.registration_open is False


@on_both
@pytest.mark.parametrize(
    "change",
    [
        "status = 'done'",
        "status = 'completed'",
        "status = 'processing'",
        "finished_at = created_at",
        "progress = 1.5",
        "price = -1",
        "upload_id = tenant_id",
        "user_id = upload_id",
        "tenant_id = user_id",
    ],
)
def test_tasks_that_can_t_be(service: InProcess, demo: Person, change: str) -> None:
    """Words that don't exist, states that lack their times, strangers' songs: refused by the database."""
    assert demo.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
    with pytest.raises(IntegrityError), service.wiring.database.write() as session:
        session.execute(text(f"UPDATE task SET {change}"))


def test_sqlite_keeps_foreign_keys_and_waits(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(Settings(_env_file=None, data_dir=tmp_path, db={"url": sqlite_url}))  # type: ignore[arg-type]
    with database.read() as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("foreign_keys", "journal_mode", "synchronous")
        }
        assert pragmas == {"foreign_keys": 1, "journal_mode": "wal", "synchronous": 2}
        assert session.scalar(select(func.count()).select_from(Task)) == 0
    database.dispose()
