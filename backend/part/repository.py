"""The parts' table: workers and the sweep see those of every tenant.

A change of state is one statement, guarded by status and attempt: whoever comes late changes nothing. Who holds a
part's row waits for another's only where it holds the task's as well, so nobody waits for each other in a ring.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from backend.clock import database_now
from backend.models import Part, Step, Task, Upload
from backend.models.task import FINISHED
from backend.tenant.scope import in_tenant, serves_every_tenant

QUEUED = {"status": "queued", "worker": None, "lease_until": None}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A task at work that has queued parts, as a worker needs it that could help."""

    task: Task
    step: Step
    upload: Upload
    fingerprint: str


@serves_every_tenant
def leads(session: Session, task_id: UUID, attempt: int) -> bool:
    """Whether this attempt has the task; it then keeps it until the transaction ends."""
    statement = select(Task.id).where(Task.id == task_id, Task.attempt == attempt, Task.status == "processing")
    return session.scalars(statement.with_for_update()).one_or_none() is not None


def of_task(session: Session, tenant_id: UUID, task_id: UUID) -> list[Part]:
    """In their order."""
    statement = select(Part).where(in_tenant(Part, tenant_id), Part.task_id == task_id).order_by(Part.position)
    return list(session.scalars(statement.execution_options(populate_existing=True)))


def add(session: Session, parts: Sequence[Part]) -> None:
    session.add_all(parts)
    session.flush()


def remove(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    session.execute(delete(Part).where(in_tenant(Part, tenant_id), Part.task_id == task_id))


@serves_every_tenant
def remove_finished(session: Session) -> int:
    """Of tasks that have ended; how many there were. Looked for first: hardly ever are there any."""
    ended = Part.task_id.in_(select(Task.id).where(Task.id == Part.task_id, Task.status.in_(FINISHED)))
    found = session.scalars(select(Part.id).where(ended).with_for_update(skip_locked=True, of=Part)).all()
    if found:
        session.execute(delete(Part).where(Part.id.in_(found)))
    return len(found)


@serves_every_tenant
def take(session: Session, part_id: UUID, worker: str, lease_seconds: float) -> Part | None:
    """None when another has it, or it is gone with its task. One whose task waits for a new leader is made too."""
    free = (
        select(Part.id)
        .where(Part.id == part_id, Part.status == "queued")
        .with_for_update(skip_locked=True, of=Part)
        .scalar_subquery()
    )
    return session.scalars(
        update(Part)
        .where(Part.id == free, Part.status == "queued")
        .values(status="processing", attempt=Part.attempt + 1, worker=worker, lease_until=database_now(lease_seconds))
        .returning(Part),
        execution_options={"populate_existing": True},
    ).one_or_none()


@serves_every_tenant
def renew(session: Session, part_id: UUID, attempt: int, patches_done: int, lease_seconds: float) -> bool:
    """False when the part is another's by now, or gone with its task."""
    statement = (
        update(Part)
        .where(*_held(part_id, attempt))
        .values(patches_done=patches_done, lease_until=database_now(lease_seconds))
        .returning(Part.id)
    )
    return session.scalars(statement).one_or_none() is not None


@serves_every_tenant
def complete(session: Session, part_id: UUID, attempt: int, patches_done: int) -> bool:
    statement = (
        update(Part)
        .where(*_held(part_id, attempt))
        .values(status="completed", patches_done=patches_done, lease_until=None)
        .returning(Part.id)
    )
    return session.scalars(statement).one_or_none() is not None


def complete_behind(session: Session, tenant_id: UUID, task_id: UUID, position: int) -> None:
    """Those that wait; who has taken one finds that it is empty."""
    behind = select(Part.id).where(
        in_tenant(Part, tenant_id), Part.task_id == task_id, Part.position > position, Part.status == "queued"
    )
    session.execute(
        update(Part)
        .where(in_tenant(Part, tenant_id), Part.id.in_(behind.with_for_update(skip_locked=True)))
        .values(status="completed")
        .execution_options(synchronize_session=False)
    )


@serves_every_tenant
def give_back(session: Session, part_id: UUID, attempt: int, patches_done: int, *, failed: bool) -> None:
    values: dict[str, Any] = QUEUED | {"patches_done": patches_done, "failures": Part.failures + int(failed)}
    session.execute(update(Part).where(*_held(part_id, attempt)).values(**values))


@serves_every_tenant
def redo(session: Session, part_id: UUID, patches_done: int) -> None:
    """Queue it with only so much kept, whoever has it."""
    session.execute(update(Part).where(Part.id == part_id).values(**QUEUED, patches_done=patches_done))


@serves_every_tenant
def rescue_expired(session: Session, task_id: UUID | None = None) -> int:
    return _rescue(session, *_expired(task_id))


@serves_every_tenant
def rescue_own(session: Session, worker: str) -> int:
    return _rescue(session, Part.worker == worker)


@serves_every_tenant
def any_expired(session: Session, task_id: UUID | None = None) -> bool:
    statement = select(Part.id).where(Part.status == "processing", *_expired(task_id))
    return session.scalars(statement.limit(1)).first() is not None


@serves_every_tenant
def wanted(session: Session, worker: str) -> list[Wanted]:
    """Tasks at work in which this worker could take a part and has none, the oldest first."""
    rows = session.execute(
        select(Task, Step, Upload, func.min(Part.fingerprint))
        .join(Part, (Part.tenant_id == Task.tenant_id) & (Part.task_id == Task.id))
        .join(Step, Step.id == Part.step_id)
        .join(Upload, (Upload.tenant_id == Task.tenant_id) & (Upload.id == Task.upload_id))
        .where(*_helpable(worker))
        .group_by(Task.id, Step.id, Upload.id)
        .order_by(Task.id)
    )
    return [Wanted(task, step, upload, fingerprint) for task, step, upload, fingerprint in rows]


@serves_every_tenant
def count_wanted(session: Session, worker: str) -> int:
    """How many such tasks there are."""
    tasks = select(func.count(Task.id.distinct())).join(
        Part, (Part.tenant_id == Task.tenant_id) & (Part.task_id == Task.id)
    )
    return session.scalars(tasks.where(*_helpable(worker))).one()


@serves_every_tenant
def _helpable(worker: str) -> tuple[ColumnElement[bool], ...]:
    """Queued parts that nobody has failed in, of tasks of which this worker has neither the lead nor a part: the
    tasks of one worker share one network, so it would gain nothing."""
    own = aliased(Part)
    helping = select(own.id).where(own.task_id == Task.id, own.status == "processing", own.worker == worker)
    return (
        Part.status == "queued",
        Part.failures == 0,
        Task.status == "processing",
        Task.worker != worker,
        ~helping.exists(),
    )


@serves_every_tenant
def _rescue(session: Session, *conditions: ColumnElement[bool]) -> int:
    """Back into the queue, with what is kept of them. Its worker died in it, so the leader alone takes it again."""
    lost = select(Part.id).where(Part.status == "processing", *conditions).with_for_update(skip_locked=True)
    rescued = session.scalars(
        update(Part)
        .where(Part.id.in_(lost), Part.status == "processing")
        .values(**QUEUED, failures=Part.failures + 1)
        .returning(Part.id)
        .execution_options(synchronize_session=False)
    )
    return len(rescued.all())


def _expired(task_id: UUID | None) -> tuple[ColumnElement[bool], ...]:
    late = Part.lease_until < database_now()
    return (late,) if task_id is None else (late, Part.task_id == task_id)


def _held(part_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return Part.id == part_id, Part.attempt == attempt, Part.status == "processing"
