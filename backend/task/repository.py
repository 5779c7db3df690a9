"""The tasks' tables as their owners see them. Changes of state are in `lease_repository`."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Artifact, Event, Step, Task
from backend.tenant.scope import Scope, in_scope, in_tenant


def get(session: Session, scope: Scope, task_id: UUID, *, lock: bool = False) -> Task | None:
    """`lock`: nobody else changes it until the transaction ends."""
    statement = select(Task).where(in_scope(Task, scope), Task.id == task_id, Task.deleted_at.is_(None))
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def page(session: Session, scope: Scope, *, status: str | None, before: UUID | None, limit: int) -> list[Task]:
    """Newest first; `before` is the id of the last task already seen."""
    statement = (
        select(Task).where(in_scope(Task, scope), Task.deleted_at.is_(None)).order_by(Task.id.desc()).limit(limit)
    )
    if status is not None:
        statement = statement.where(Task.status == status)
    if before is not None:
        statement = statement.where(Task.id < before)
    return list(session.scalars(statement))


def count(session: Session, scope: Scope, *, status: str | None) -> int:
    statement = select(func.count()).select_from(Task).where(in_scope(Task, scope), Task.deleted_at.is_(None))
    if status is not None:
        statement = statement.where(Task.status == status)
    return session.scalar(statement) or 0


def steps(session: Session, tenant_id: UUID, task_ids: Sequence[UUID]) -> dict[UUID, Step]:
    """The first step of each task."""
    rows = session.scalars(
        select(Step).where(in_tenant(Step, tenant_id), Step.task_id.in_(task_ids), Step.position == 0)
    )
    return {row.task_id: row for row in rows}


def artifacts(session: Session, tenant_id: UUID, task_ids: Sequence[UUID]) -> dict[UUID, list[Artifact]]:
    rows = session.scalars(
        select(Artifact).where(in_tenant(Artifact, tenant_id), Artifact.task_id.in_(task_ids)).order_by(Artifact.id)
    )
    found: dict[UUID, list[Artifact]] = {}
    for row in rows:
        found.setdefault(row.task_id, []).append(row)
    return found


def events_after(session: Session, tenant_id: UUID, task_id: UUID, seq: int) -> list[Event]:
    return list(
        session.scalars(
            select(Event)
            .where(in_tenant(Event, tenant_id), Event.task_id == task_id, Event.seq > seq)
            .order_by(Event.seq)
        )
    )


def add(session: Session, *rows: object) -> None:
    session.add_all(rows)
    session.flush()


def mark_deleted(session: Session, scope: Scope, task_id: UUID) -> None:
    session.execute(update(Task).where(in_scope(Task, scope), Task.id == task_id).values(deleted_at=database_now()))


def ask_to_cancel(session: Session, scope: Scope, task_id: UUID) -> None:
    session.execute(
        update(Task)
        .where(in_scope(Task, scope), Task.id == task_id, Task.status == "processing")
        .values(cancel_requested=True)
    )
