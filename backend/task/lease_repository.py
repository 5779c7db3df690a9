"""The tasks' tables as workers and the sweep see them: whose a task is does not matter here.

Every change of state is one statement, guarded by status and attempt: whoever comes late changes nothing.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Step, Task
from backend.models.task import FINISHED, TaskStatus
from backend.tenant.scope import serves_every_tenant

PARTS = "parts"
"""In the receipt of a song that was separated in parts: how."""


@serves_every_tenant
def claim(session: Session, tenant_id: UUID, worker: str, lease_seconds: float) -> Task | None:
    """Take a tenant's oldest queued task; whose turn it is says `backend.line`."""
    following = (
        select(Task.id)
        .where(Task.status == "queued", Task.tenant_id == tenant_id)
        .order_by(Task.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    return session.scalars(
        update(Task)
        .where(Task.id == following, Task.status == "queued")
        .values(
            status="processing",
            attempt=Task.attempt + 1,
            lease_until=database_now(lease_seconds),
            claimed_at=database_now(),
            worker=worker,
            progress=0.0,
            stage=None,
            last_event=Task.last_event + 1,
        )
        .returning(Task),
        execution_options={"populate_existing": True},
    ).one_or_none()


@serves_every_tenant
def renew(session: Session, task_id: UUID, attempt: int, lease_seconds: float, progress: float, stage: str) -> bool:
    """False when the task is cancelled, or another's by now."""
    renewed = session.scalars(
        update(Task)
        .where(Task.id == task_id, Task.attempt == attempt, Task.status == "processing")
        .values(lease_until=database_now(lease_seconds), progress=progress, stage=stage)
        .returning(Task.id)
    )
    return renewed.one_or_none() is not None


@serves_every_tenant
def leave(
    session: Session,
    task_id: UUID,
    *,
    status: str,
    attempt: int,
    into: str,
    expired_only: bool = False,
    **values: Any,
) -> Task | None:
    """Move a task from one state to another; None when it is not there any more: nothing was changed."""
    guards: list[ColumnElement[bool]] = [Task.id == task_id, Task.status == status, Task.attempt == attempt]
    if expired_only:
        guards.append(Task.lease_until < database_now())
    if into in FINISHED:
        values["finished_at"] = database_now()
    return session.scalars(
        update(Task)
        .where(*guards)
        .values(status=into, lease_until=None, last_event=Task.last_event + 1, **values)
        .returning(Task),
        execution_options={"populate_existing": True},
    ).one_or_none()


@serves_every_tenant
def where(session: Session, task_id: UUID) -> tuple[str, int]:
    row = session.execute(select(Task.status, Task.attempt).where(Task.id == task_id)).one()
    return row.status, row.attempt


@serves_every_tenant
def littered(session: Session, seconds: float) -> list[tuple[UUID, str, TaskStatus, int]]:
    """(id, name of the song, status, attempt) of what ended so lately and had more attempts than gave its result, or
    was made in parts, by the word of its receipt."""
    in_parts = select(Step.id).where(Step.task_id == Task.id, Step.receipt[PARTS].as_string().is_not(None)).exists()
    rows = session.execute(
        select(Task.id, Task.source_name, Task.status, Task.attempt).where(
            Task.finished_at > database_now(-seconds),
            Task.attempt > 0,  # as the index has it
            (Task.attempt > 1) | (Task.status != "completed") | in_parts,
        )
    )
    return [(task_id, name, status, attempt) for task_id, name, status, attempt in rows]


@serves_every_tenant
def expired(session: Session) -> list[Task]:
    return list(
        session.scalars(select(Task).where(Task.status == "processing", Task.lease_until < database_now()).limit(100))
    )


@serves_every_tenant
def held_by(session: Session, worker: str) -> list[Task]:
    return list(session.scalars(select(Task).where(Task.status == "processing", Task.worker == worker)))
