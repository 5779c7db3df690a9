"""Rows by the million, made by the database itself out of one that the service wrote."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, create_engine, func, insert, literal, literal_column, select, update

from backend.clock import database_now
from backend.db import Database
from backend.models import Artifact, Step, Task
from backend.models.base import Base


def finish(database: Database, task_ids: Sequence[str]) -> None:
    """Completed, with two stems each."""
    ids = [UUID(task_id) for task_id in task_ids]
    with database.write() as session:
        for step in session.scalars(select(Step).where(Step.task_id.in_(ids))):
            session.add_all(_stem(step, name) for name in ("vocals", "accompaniment"))
        claimed: dict[str, Any] = {"status": "processing", "attempt": Task.attempt + 1, "lease_until": database_now()}
        done = {"status": "completed", "progress": 1.0, "lease_until": None, "finished_at": database_now()}
        for values in (claimed, done):  # the database lets a task take no other way
            session.execute(update(Task).where(Task.id.in_(ids)).values(last_event=Task.last_event + 1, **values))


def made_id(number: int) -> UUID:
    """Of the row of this number: older than any id of today."""
    return UUID(f"{number:012x}70008000000000000000")


class Bulk:
    """Foreign keys and triggers are not looked at: that would take longer than the rows, which are in any state."""

    def __init__(self, database: Database) -> None:
        self._sqlite = database.is_sqlite
        self._engine = create_engine(database.url)

    def __enter__(self) -> Self:
        self._connection: Connection = self._engine.connect()
        quick = "PRAGMA synchronous = OFF" if self._sqlite else "SET session_replication_role = replica"
        self._connection.exec_driver_sql(quick)
        self._triggers: list[str] = []
        if self._sqlite:
            look = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name IN ('task', 'event')"
            for name, statement in self._connection.exec_driver_sql(look).all():
                self._connection.exec_driver_sql(f"DROP TRIGGER {name}")
                self._triggers.append(statement)
        return self

    def __exit__(self, *_: object) -> None:
        for statement in self._triggers:
            self._connection.exec_driver_sql(statement)
        self._connection.commit()
        if not self._sqlite:  # a while after so much was written the server does so by itself
            self._connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("VACUUM ANALYZE")
        self._connection.close()
        self._engine.dispose()

    def copy(self, model: type[Base], which: ColumnElement[bool], numbers: range, *own: str, **new: Any) -> None:
        """Rows like one, for each number: with an id of their own there and in `own`, and what `new` says in others."""
        table: Any = model.__table__
        made = dict.fromkeys(("id", *own), self._id()) | new
        columns = [made.get(column.name, column).label(column.name) for column in table.columns]
        counted = self._counted(numbers)
        like = select(*columns).select_from(table.join(counted, literal_column("1 = 1"))).where(which)
        self._connection.execute(insert(table).from_select([column.name for column in table.columns], like))

    def _counted(self, numbers: range) -> Any:
        if not self._sqlite:
            series = func.generate_series(numbers.start, numbers.stop - 1)
            return series.table_valued("n").render_derived(name="numbers")
        first = select(literal(numbers.start).label("n")).cte("numbers", recursive=True)
        return first.union_all(select(first.c.n + 1).where(first.c.n < numbers.stop - 1))

    def _id(self) -> ColumnElement[Any]:
        if self._sqlite:
            return literal_column("printf('%012x70008000000000000000', numbers.n)")
        return literal_column("(lpad(to_hex(numbers.n), 12, '0') || '70008000000000000000')::uuid")


def _stem(step: Step, name: str) -> Artifact:
    return Artifact(
        tenant_id=step.tenant_id,
        task_id=step.task_id,
        step_id=step.id,
        attempt=1,
        kind="stem",
        name=name,
        storage_key=f"output/song/{step.task_id}/1/{name}.wav",
        media_type="audio/wav",
        size=1_000_000,
        sha256="0" * 64,
    )
