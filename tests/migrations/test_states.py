"""A task's way through its states, as the database itself keeps it: every way there is, tried by SQL on both."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, get_args
from uuid import UUID

import pytest
from sqlalchemy import event, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import Session

from backend.clock import database_now, utc_now
from backend.db import Database
from backend.identity import new_id
from backend.models import Event, Task
from backend.models.task import FINISHED, TaskStatus
from backend.settings import ROOT
from backend.task import lifecycle
from tests.ledger import settle, submit, write_people, write_song
from tests.servers import empty_settings, on_both
from tests.walking import walk

STATES: tuple[TaskStatus, ...] = get_args(TaskStatus)
WRONG = {"attempt": Task.attempt + 1, "last_event": Task.last_event + 1, "finished_at": utc_now()}
Order = Callable[[], UUID]


@pytest.fixture
def database(database_url: str, tmp_path: Path) -> Iterator[Database]:
    database = Database(empty_settings(tmp_path, database_url))
    yield database
    database.dispose()


@pytest.fixture
def order(database: Database) -> Order:
    """A task, queued with its first event."""
    with database.write() as session:
        tenant_id, (user_id,) = write_people(session, 1)
        song_id = write_song(session, tenant_id, user_id)

    def make() -> UUID:
        with database.write() as session:
            return submit(session, tenant_id, user_id, song_id, 0)

    return make


def step(session: Session, task_id: UUID, into: TaskStatus, **wrong: Any) -> None:
    """As `lifecycle` does it, but for what is `wrong`."""
    values: dict[str, Any] = {"status": into, "last_event": Task.last_event + 1, "lease_until": None}
    if into == "processing":
        values |= {"attempt": Task.attempt + 1, "lease_until": database_now(60)}
    if into in FINISHED:
        values |= {"finished_at": database_now()}
    changed = update(Task).where(Task.id == task_id).values(values | wrong)
    session.execute(changed, execution_options={"synchronize_session": False})


def look(database: Database, task_id: UUID) -> tuple[Any, ...]:
    with database.read() as session:
        row = session.get_one(Task, task_id)
        events = session.scalars(select(Event).where(Event.task_id == task_id).order_by(Event.seq)).all()
        return row.status, row.attempt, row.last_event, row.finished_at, [(each.seq, each.kind) for each in events]


@on_both
@pytest.mark.parametrize("before", STATES)
def test_of_all_ways_those_of_the_table_are_open(database: Database, order: Order, before: TaskStatus) -> None:
    for after in STATES:
        task_id = order()
        with database.write() as session:
            walk(session, task_id, before)
        found = look(database, task_id)
        if (before, after) in lifecycle.TRANSITIONS:
            with database.write() as session:
                step(session, task_id, after)
            assert look(database, task_id)[0] == after
            continue
        with pytest.raises(IntegrityError, match="does not go that way"), database.write() as session:
            step(session, task_id, after)
        assert look(database, task_id) == found


@on_both
def test_an_open_way_is_gone_with_one_event_and_only_claims_count(database: Database, order: Order) -> None:
    """Whatever else it changes of what is watched, it is refused; so is a change of these without a step."""
    for before, after in lifecycle.TRANSITIONS:
        task_id = order()
        with database.write() as session:
            walk(session, task_id, before)
        attempt = {"attempt": Task.attempt} if after == "processing" else {"attempt": Task.attempt + 1}
        skipped, none = {"last_event": Task.last_event + 2}, {"last_event": Task.last_event}
        for wrong in (attempt, {"attempt": Task.attempt + 2}, skipped, none):
            with pytest.raises(IntegrityError, match="does not go that way"), database.write() as session:
                step(session, task_id, after, **wrong)
    for status in STATES:
        task_id = order()
        with database.write() as session:
            walk(session, task_id, status)
        for column, value in WRONG.items():
            with pytest.raises(IntegrityError), database.write() as session:
                session.execute(update(Task).where(Task.id == task_id).values({column: value}))
        with database.write() as session:  # what is not watched is free
            session.execute(update(Task).where(Task.id == task_id).values(progress=0.5, status=status))


@on_both
def test_a_task_begins_queued(database: Database, order: Order) -> None:
    task_id = order()
    with database.read() as session:
        row = session.get_one(Task, task_id)
        columns = {column.key: getattr(row, column.key) for column in Task.__table__.columns}
    with database.write() as session:
        session.execute(insert(Task).values(columns | {"id": new_id(), "last_event": 0}))
    finished: list[dict[str, Any]] = [{"status": status, "finished_at": utc_now()} for status in FINISHED]
    processing = {"status": "processing", "lease_until": utc_now()}
    for wrong in (*finished, processing, {"attempt": 1}, {"last_event": 2}):
        with pytest.raises(IntegrityError, match="begins queued"), database.write() as session:
            session.execute(insert(Task).values(columns | {"id": new_id()} | wrong))
    if database.is_sqlite:
        with pytest.raises(IntegrityError, match="begins queued"), database.write() as session:
            session.execute(insert(Task).prefix_with("OR REPLACE").values(columns))


@on_both
def test_events_are_only_added_and_in_order(database: Database, order: Order) -> None:
    task_id = order()
    with database.read() as session:
        tenant_id = session.get_one(Task, task_id).tenant_id

    def refused(statement: Any) -> None:
        with pytest.raises(DBAPIError), database.write() as session:
            session.execute(text(statement) if isinstance(statement, str) else statement)

    new = insert(Event).values(task_id=task_id, tenant_id=tenant_id, data={}, created_at=utc_now())
    for seq, kind in ((1, "queued"), (2, "queued"), (2, "processing"), (0, "queued")):
        refused(new.values(seq=seq, kind=kind))
    with database.write() as session:
        step(session, task_id, "processing")
    for seq, kind in ((1, "processing"), (2, "queued"), (3, "processing")):
        refused(new.values(seq=seq, kind=kind))
    with database.write() as session:
        session.execute(new.values(seq=2, kind="processing", data={"attempt": 1}))
    if database.is_sqlite:
        refused(new.prefix_with("OR REPLACE").values(seq=2, kind="processing"))
    else:
        refused("TRUNCATE event")
    refused("DELETE FROM event")
    values = {"kind": "'failed'", "seq": "seq + 1", "created_at": "'2020-01-01'", "data": """'{"attempt": 2}'"""}
    for column, value in values.items():
        refused(f"UPDATE event SET {column} = {value}")
        refused(f"UPDATE event SET data = '{{}}', {column} = {value}")
    with database.write() as session:  # as erasing does
        session.execute(update(Event).where(Event.task_id == task_id).values(data={}))
    assert look(database, task_id)[-1] == [(1, "queued"), (2, "processing")]


ACTS = {"complete": "completed", "fail": "failed", "cancel": "cancelled", "give back": "queued"}


class Crash(Exception):
    pass


@contextmanager
def crashing(database: Database, place: str) -> Iterator[None]:
    """Whatever comes to this place within the block goes no further."""

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(place):
            raise Crash

    def before_commit(_session: Session) -> None:
        raise Crash

    hook: tuple[Any, str, Any] = (database.engine, "before_cursor_execute", before_statement)
    if place == "commit":
        hook = (Session, "before_commit", before_commit)
    event.listen(*hook)
    try:
        with pytest.raises(Crash):
            yield
    finally:
        event.remove(*hook)


@on_both
@pytest.mark.parametrize("place", ["INSERT INTO event", "commit"])
def test_a_step_and_its_event_are_written_together_or_not_at_all(database: Database, order: Order, place: str) -> None:
    def walked(task_id: UUID, into: str, run: Callable[[], Any]) -> Any:
        before = look(database, task_id)
        with crashing(database, place):
            run()
        assert look(database, task_id) == before
        found = run()
        status, _, last_event, _, events = look(database, task_id)
        assert (status, last_event, events) == (into, before[2] + 1, [*before[4], (before[2] + 1, into)])
        return found

    for act, status in ACTS.items():
        task_id = order()
        claim = walked(task_id, "processing", lambda: lifecycle.claim(database, "somebody", 60))
        assert claim.task_id == task_id
        walked(task_id, status, partial(settle, database, act, claim))
        if status == "queued":
            walked(task_id, "cancelled", partial(cancel, database, task_id))


def cancel(database: Database, task_id: UUID) -> None:
    with database.write() as session:
        assert lifecycle.cancel(session, task_id, "queued", 1)


def test_the_picture_shows_the_table() -> None:
    picture = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("## The life of a task")[1]
    drawn = re.findall(r"^ +(\w+) --> (\w+): (\w+)", picture.partition("```\n")[0], re.MULTILINE)
    assert {(before, after): act for before, after, act in drawn} == lifecycle.TRANSITIONS
