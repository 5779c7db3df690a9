"""The tasks' tables as their owners see them. Changes of state are in `lease_repository`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, func, select, update
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.clock import database_now
from backend.models import Artifact, Event, Step, Task, Upload
from backend.models.task import FINISHED
from backend.task.listed import Listed, Made
from backend.tenant.scope import Scope, in_scope, in_tenant

Look = tuple[Task, Step, str]
"""A task, its first step, and where its song lies, or lay before it was deleted."""


def get(session: Session, scope: Scope, task_id: UUID, *, lock: bool = False) -> Task | None:
    """`lock`: nobody else changes it until the transaction ends."""
    return session.scalars(*_one(scope, task_id, lock)).one_or_none()


@built_once
def _one(scope: Scope, task_id: UUID, lock: bool) -> Select[Task]:
    statement = select(Task).where(in_scope(Task, scope), Task.id == task_id, Task.deleted_at.is_(None))
    return statement.with_for_update() if lock else statement


def looked_at(session: Session, scope: Scope, task_id: UUID) -> Look | None:
    return session.execute(*_look(scope, task_id)).one_or_none()


@built_once
def _look(scope: Scope, task_id: UUID) -> Select[Task, Step, str]:
    return (
        select(Task, Step, Upload.storage_key)
        .join(Step, (Step.task_id == Task.id) & (Step.position == 0))
        .join(Upload, Upload.id == Task.upload_id)
        .where(
            in_scope(Task, scope),
            in_tenant(Step, scope.tenant_id),
            in_tenant(Upload, scope.tenant_id),
            Task.id == task_id,
            Task.deleted_at.is_(None),
        )
    )


def page(session: Session, scope: Scope, *, status: str | None, before: UUID | None, limit: int) -> list[Listed]:
    """Newest first; `before` is the id of the last task already seen."""
    return [Listed(*row) for row in session.execute(*_page(scope, status, before, limit))]


@built_once
def _page(scope: Scope, status: str | None, before: UUID | None, limit: int) -> Select[*tuple[Any, ...]]:
    # Chosen by the index alone before anything is joined: a planner can't be led to read the whole history.
    chosen = (
        select(Task.id).where(in_scope(Task, scope), Task.deleted_at.is_(None)).order_by(Task.id.desc()).limit(limit)
    )
    if status is not None:
        chosen = chosen.where(Task.status == status)
    if before is not None:
        chosen = chosen.where(Task.id < before)
    ids = chosen.subquery()
    return (
        select(*(getattr(Task, name) for name in Listed._fields[:-2]), Step.model, Upload.storage_key)
        .join(ids, ids.c.id == Task.id)
        .join(Step, (Step.task_id == Task.id) & (Step.position == 0))
        .join(Upload, Upload.id == Task.upload_id)
        .where(in_scope(Task, scope), in_tenant(Step, scope.tenant_id), in_tenant(Upload, scope.tenant_id))
        .order_by(Task.id.desc())
    )


def count(session: Session, scope: Scope, *, status: str | None, most: int) -> int:
    """Counts no further than `most`."""
    return session.scalar(*_count(scope, status, most)) or 0


@built_once
def _count(scope: Scope, status: str | None, most: int) -> Select[int]:
    statement = select(Task.id).where(in_scope(Task, scope), Task.deleted_at.is_(None)).limit(most)
    if status is not None:
        statement = statement.where(Task.status == status)
    return select(func.count()).select_from(statement.subquery())


def steps(session: Session, tenant_id: UUID, task_ids: Sequence[UUID]) -> dict[UUID, Step]:
    """The first step of each task."""
    return {row.task_id: row for row in session.scalars(*_steps(tenant_id, task_ids))}


@built_once
def _steps(tenant_id: UUID, task_ids: Sequence[UUID]) -> Select[Step]:
    return select(Step).where(in_tenant(Step, tenant_id), Step.task_id.in_(task_ids), Step.position == 0)


def artifacts(session: Session, tenant_id: UUID, task_ids: Sequence[UUID]) -> dict[UUID, list[Made]]:
    found: dict[UUID, list[Made]] = {}
    for row in session.execute(*_artifacts(tenant_id, task_ids)):
        made = Made(*row)
        found.setdefault(made.task_id, []).append(made)
    return found


@built_once
def _artifacts(tenant_id: UUID, task_ids: Sequence[UUID]) -> Select[*tuple[Any, ...]]:
    return (
        select(*(getattr(Artifact, name) for name in Made._fields))
        .where(in_tenant(Artifact, tenant_id), Artifact.task_id.in_(task_ids))
        .order_by(Artifact.id)
    )


def events_after(session: Session, tenant_id: UUID, task_id: UUID, seq: int, limit: int) -> list[Event]:
    statement = select(Event).where(in_tenant(Event, tenant_id), Event.task_id == task_id, Event.seq > seq)
    return list(session.scalars(statement.order_by(Event.seq).limit(limit)))


def add(session: Session, *rows: object) -> None:
    session.add_all(rows)
    session.flush()


def unfinished(session: Session, scope: Scope) -> list[Task]:
    """Nobody else changes them until the transaction ends."""
    statement = select(Task).where(in_scope(Task, scope), Task.status.not_in(FINISHED)).order_by(Task.id)
    return list(session.scalars(statement.with_for_update()))


def repeat_of(session: Session, scope: Scope, task_id: UUID) -> UUID | None:
    """The task that repeats this one, unless it failed or was cancelled itself."""
    statement = select(Task.id).where(
        in_scope(Task, scope),
        Task.retry_of == task_id,
        Task.status.not_in(("failed", "cancelled")),
        Task.deleted_at.is_(None),
    )
    return session.scalars(statement.limit(1)).one_or_none()


def mark_deleted(session: Session, scope: Scope, task_id: UUID) -> None:
    session.execute(update(Task).where(in_scope(Task, scope), Task.id == task_id).values(deleted_at=database_now()))
