"""The queue as the next claim sees it. Who waits, and who was served when, is in the tasks' rows alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, aliased

from backend.models import Pace, Step, Task, Tenant, TenantLimit
from backend.tenant.scope import serves_every_tenant

FORGETS = 0.9
"""What counts of a model's earlier runs with each new one: the last ten or so decide."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A tenant with queued tasks."""

    tenant_id: UUID
    plan: str
    tasks: int
    seconds: float
    first: UUID
    """Its oldest queued task."""
    served: Sequence[datetime | None]
    """When its last tasks were taken, the latest first; None where it had fewer."""
    limit: int | None = None
    """How many of its tasks may run at once."""
    running: int = 0
    """How many do; counted where there is a limit."""

    @property
    def room(self) -> int:
        """How many of its tasks may be taken now."""
        return self.tasks if self.limit is None else max(0, min(self.tasks, self.limit - self.running))


@serves_every_tenant
def waiting(session: Session, memory: int, concurrent: int | None) -> list[Waiting]:
    """Every tenant that waits and is not suspended, with the times of its last `memory` claims.

    `concurrent` is the limit of those that have none of their own.
    """
    rows = session.execute(_waiting(memory, concurrent))
    return [
        Waiting(tenant_id, plan, tasks, seconds, oldest_id, claims, most, running)
        for tenant_id, plan, tasks, seconds, oldest_id, most, running, *claims in rows
    ]


@functools.lru_cache(maxsize=32)  # every look at a task that waits needs it, and to build it takes as long as to run it
@serves_every_tenant
def _waiting(memory: int, concurrent: int | None) -> Select[Any]:
    queue = (
        select(Task.tenant_id, func.count().label("tasks"), func.sum(Task.seconds).label("seconds"))
        .where(Task.status == "queued")
        .group_by(Task.tenant_id)
        .subquery()
    )
    oldest, served, taken = aliased(Task), aliased(Task), aliased(Task)
    first = (
        select(oldest.id)
        .where(oldest.status == "queued", oldest.tenant_id == queue.c.tenant_id)
        .order_by(oldest.id)
        .limit(1)
        .scalar_subquery()
    )

    def claimed(back: int) -> ColumnElement[datetime | None]:
        return (
            select(served.claimed_at)
            .where(served.tenant_id == queue.c.tenant_id, served.claimed_at.is_not(None))
            .order_by(served.claimed_at.desc())
            .offset(back)
            .limit(1)
            .scalar_subquery()
        )

    own = TenantLimit.concurrent_tasks
    limit: ColumnElement[int | None] = own if concurrent is None else func.coalesce(own, concurrent)  # type: ignore[assignment]
    under_way = (
        select(func.count())
        .select_from(taken)
        .where(taken.status == "processing", taken.tenant_id == queue.c.tenant_id)
        .scalar_subquery()
    )
    return (
        select(
            queue.c.tenant_id,
            Tenant.plan,
            queue.c.tasks,
            queue.c.seconds,
            first,
            limit,
            case((limit.is_not(None), under_way), else_=0),
            *map(claimed, range(memory)),
        )
        .join(Tenant, Tenant.id == queue.c.tenant_id)
        .outerjoin(TenantLimit, TenantLimit.tenant_id == queue.c.tenant_id)
        .where(Tenant.suspended_at.is_(None))
    )


@serves_every_tenant
def before(session: Session, task: Task) -> tuple[int, float]:
    """(how many queued tasks of its own tenant are older, their seconds)."""
    row = session.execute(
        select(func.count(), func.coalesce(func.sum(Task.seconds), 0.0)).where(
            Task.status == "queued", Task.tenant_id == task.tenant_id, Task.id < task.id
        )
    ).one()
    return int(row[0]), float(row[1])


@serves_every_tenant
def running(session: Session) -> Sequence[tuple[UUID, float, str]]:
    """(whose, seconds of audio that are not done yet, model) of each task that a worker has."""
    statement = (
        select(Task.tenant_id, Task.seconds * (1 - Task.progress), Step.model)
        .join(Step, (Step.task_id == Task.id) & (Step.position == 0))
        .where(Task.status == "processing")
    )
    return [(tenant_id, seconds, model) for tenant_id, seconds, model in session.execute(statement)]


@serves_every_tenant
def running_of(session: Session, tenant_id: UUID) -> int:
    """How many of its tasks workers have, of which none is taken by another until the transaction ends."""
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))
    statement = select(func.count()).where(Task.status == "processing", Task.tenant_id == tenant_id)
    return session.scalars(statement).one()


@serves_every_tenant
def paces(session: Session) -> dict[str, tuple[float, float]]:
    """For each model (seconds of audio, seconds of work) of its last runs."""
    return {row.model: (row.audio_seconds, row.work_seconds) for row in session.scalars(select(Pace))}


@serves_every_tenant
def measured(session: Session, model: str, audio_seconds: float, work_seconds: float) -> None:
    again = (
        update(Pace)
        .where(Pace.model == model)
        .values(
            audio_seconds=Pace.audio_seconds * FORGETS + audio_seconds,
            work_seconds=Pace.work_seconds * FORGETS + work_seconds,
        )
        .returning(Pace.model)
        .execution_options(synchronize_session=False)
    )
    if session.execute(again).one_or_none() is not None:
        return
    try:
        with session.begin_nested():
            session.add(Pace(model=model, audio_seconds=audio_seconds, work_seconds=work_seconds))
            session.flush()
    except IntegrityError:  # another worker was the first to finish with this model
        session.execute(again)
