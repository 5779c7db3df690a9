from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from backend.models import Event, Task
from backend.tenant.scope import serves_every_tenant

AT_ONCE = 200
"""Tasks asked for in one statement: SQLite limits how deep an expression may be."""


@dataclass(frozen=True, slots=True)
class News:
    status: str | None
    """None when the task is gone."""
    last_event: int = 0
    progress: dict[str, Any] | None = None
    events: Sequence[Event] = ()


@serves_every_tenant
def news(session: Session, since: Mapping[UUID, int]) -> dict[UUID, News]:
    """For each task: its state now and its events after a number. Listeners were checked when they came."""
    if len(since) > AT_ONCE:
        ids = list(since)
        parts = [{task_id: since[task_id] for task_id in ids[i : i + AT_ONCE]} for i in range(0, len(ids), AT_ONCE)]
        return {task_id: told for part in parts for task_id, told in news(session, part).items()}
    tasks = {
        task.id: task for task in session.scalars(select(Task).where(Task.id.in_(since), Task.deleted_at.is_(None)))
    }
    events: dict[UUID, list[Event]] = {}
    wanted = or_(*(and_(Event.task_id == task_id, Event.seq > seq) for task_id, seq in since.items()))
    for event in session.scalars(select(Event).where(wanted).order_by(Event.task_id, Event.seq)):
        events.setdefault(event.task_id, []).append(event)
    return {task_id: _news(session, tasks.get(task_id), events.get(task_id, [])) for task_id in since}


@serves_every_tenant
def _news(session: Session, task: Task | None, events: Sequence[Event]) -> News:
    if task is None:
        return News(status=None)
    progress: dict[str, Any] | None = None
    if task.status == "queued":
        ahead = select(func.count()).select_from(Task).where(Task.status == "queued", Task.id < task.id)
        progress = {"status": "queued", "progress": 0.0, "queue_position": session.scalar(ahead)}
    elif task.status == "processing":
        progress = {"status": "processing", "progress": round(task.progress, 4), "stage": task.stage}
    return News(task.status, task.last_event, progress, events)
