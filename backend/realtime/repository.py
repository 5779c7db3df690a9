from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from backend.line import service as line
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
def news(session: Session, since: Mapping[UUID, int], plans: Mapping[str, int]) -> dict[UUID, News]:
    """For each task: its state now and its events after a number. Listeners were checked when they came."""
    ids, found = list(since), {}
    looked: list[line.Line] = []  # once for all that wait, and only when one does
    for start in range(0, len(ids), AT_ONCE):
        part = {task_id: since[task_id] for task_id in ids[start : start + AT_ONCE]}
        tasks = session.scalars(select(Task).where(Task.id.in_(part), Task.deleted_at.is_(None)))
        known = {task.id: task for task in tasks}
        events: dict[UUID, list[Event]] = {}
        behind = [task_id for task_id, task in known.items() if task.last_event > part[task_id]]
        if behind:
            wanted = or_(*(and_(Event.task_id == task_id, Event.seq > part[task_id]) for task_id in behind))
            for event in session.scalars(select(Event).where(wanted).order_by(Event.task_id, Event.seq)):
                events.setdefault(event.task_id, []).append(event)
        if not looked and any(task.status == "queued" for task in known.values()):
            looked.append(line.look(session, plans))
        for task_id in part:
            found[task_id] = _news(session, known.get(task_id), events.get(task_id, []), looked)
    return found


def _news(session: Session, task: Task | None, events: Sequence[Event], looked: Sequence[line.Line]) -> News:
    if task is None:
        return News(status=None)
    progress: dict[str, Any] | None = None
    if task.status == "queued":
        place = line.position(session, looked[0], task)
        progress = {"status": "queued", "progress": 0.0, "queue_position": place}
    elif task.status == "processing":
        progress = {"status": "processing", "progress": round(task.progress, 4), "stage": task.stage}
    return News(task.status, task.last_event, progress, events)
