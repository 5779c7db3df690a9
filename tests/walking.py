"""Tasks brought to a state as the database lets them get there: step by step; money, events and files aside."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Task
from backend.models.task import FINISHED, TaskStatus


def walk(session: Session, which: ColumnElement[bool] | UUID, status: TaskStatus, **values: Any) -> None:
    """Take queued tasks to `status`; `values` are of their last step, such as `finished_at`."""
    if isinstance(which, UUID):
        which = Task.id == which
    if status not in ("queued", "cancelled"):
        lease = database_now(3600)
        _step(session, which, {"status": "processing", "attempt": Task.attempt + 1, "lease_until": lease})
    if status in FINISHED:
        ended = {"lease_until": None, "finished_at": database_now()}
        _step(session, which, {"status": status, **ended, **values})


def _step(session: Session, which: ColumnElement[bool], values: dict[str, Any]) -> None:
    numbered = {"last_event": Task.last_event + 1, **values}
    session.execute(update(Task).where(which).values(numbered), execution_options={"synchronize_session": False})
