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
from backend.task.listed import Listed, ListedRecord, Made
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


def page(
    session: Session, scope: Scope, *, status: str | None, before: UUID | None, limit: int, most: int | None = None
) -> tuple[list[ListedRecord], int | None]:
    """(newest first, each with its stems; how many there are in all, counted no further than `most`).

    `before` is the id of the last task already seen. None is not counted: there was no `most`, or the page is empty.
    """
    found: list[ListedRecord] = []
    total = None
    for row in session.execute(*_page(scope, status, before, limit, most)):
        if not found or found[-1].task.id != row[0]:
            found.append(ListedRecord(Listed(*row[:_LISTED]), []))
            total = None if most is None else row[-1]
        if row[_LISTED] is not None:
            found[-1].artifacts.append(Made(*row[_LISTED : _LISTED + _MADE]))
    return found, total


_LISTED, _MADE = len(Listed._fields), len(Made._fields)


@built_once
def _page(
    scope: Scope, status: str | None, before: UUID | None, limit: int, most: int | None
) -> Select[*tuple[Any, ...]]:
    """One statement for all that a list shows: on a server each further one is a round trip."""
    # Chosen by the index alone before anything is joined: a planner can't be led to read the whole history.
    chosen = _listed(scope, status).order_by(Task.id.desc()).limit(limit)
    if before is not None:
        chosen = chosen.where(Task.id < before)
    ids = chosen.subquery()
    statement = (
        select(
            *(getattr(Task, name) for name in Listed._fields[:-2]),
            Step.model,
            Upload.storage_key,
            *(getattr(Artifact, name) for name in Made._fields),
        )
        .join(ids, ids.c.id == Task.id)
        .join(Step, (Step.task_id == Task.id) & (Step.position == 0))
        .join(Upload, Upload.id == Task.upload_id)
        .outerjoin(
            Artifact,
            in_tenant(Artifact, scope.tenant_id)
            & (Artifact.task_id == Task.id)
            & (Artifact.kind == "stem")
            & (Task.status == "completed"),
        )
        .where(in_scope(Task, scope), in_tenant(Step, scope.tenant_id), in_tenant(Upload, scope.tenant_id))
        .order_by(Task.id.desc(), Artifact.id)
    )
    if most is None:
        return statement
    return statement.add_columns(_counted(scope, status, most).scalar_subquery())


def _listed(scope: Scope, status: str | None) -> Select[UUID]:
    statement = select(Task.id).where(in_scope(Task, scope), Task.deleted_at.is_(None))
    return statement if status is None else statement.where(Task.status == status)


def count(session: Session, scope: Scope, *, status: str | None, most: int) -> int:
    """Counts no further than `most`."""
    return session.scalar(*_count(scope, status, most)) or 0


@built_once
def _count(scope: Scope, status: str | None, most: int) -> Select[int]:
    return _counted(scope, status, most)


def _counted(scope: Scope, status: str | None, most: int) -> Select[int]:
    return select(func.count()).select_from(_listed(scope, status).limit(most).subquery())


def steps(session: Session, tenant_id: UUID, task_ids: Sequence[UUID]) -> dict[UUID, Step]:
    """The first step of each task."""
    return {row.task_id: row for row in session.scalars(*_steps(tenant_id, task_ids))}


@built_once
def _steps(tenant_id: UUID, task_ids: Sequence[UUID]) -> Select[Step]:
    return select(Step).where(in_tenant(Step, tenant_id), Step.task_id.in_(task_ids), Step.position == 0)


def artifacts(session: Session, tenant_id: UUID, task_id: UUID) -> list[Made]:
    return [Made(*row) for row in session.execute(*_artifacts(tenant_id, task_id))]


@built_once
def _artifacts(tenant_id: UUID, task_id: UUID) -> Select[*tuple[Any, ...]]:
    return (
        select(*(getattr(Artifact, name) for name in Made._fields))
        .where(in_tenant(Artifact, tenant_id), Artifact.task_id == task_id)
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
