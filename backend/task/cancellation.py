"""Cancelling: a task that is not finished ends at once, with its credits given back.

A worker that holds it finds its lease gone within about a second, stops, and removes what it has written; should it
die before that, the sweep does.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from backend import storage as keys
from backend.db import after_commit
from backend.models import Task
from backend.models.task import FINISHED
from backend.task import lifecycle, repository
from backend.task.service import TaskFinished, get
from backend.tenant.scope import Scope
from backend.wiring import Wiring


def cancel(wiring: Wiring, scope: Scope, task_id: UUID) -> None:
    """Nothing happens to one that is cancelled already. Raises TaskNotFound, TaskFinished."""
    with wiring.database.write() as session:
        task = get(session, scope, task_id, lock=True)
        if task.status == "cancelled":
            return
        if task.status in FINISHED:
            raise TaskFinished(f"The task is {task.status}: there is nothing to cancel.")
        _cancel(wiring, session, task)


def cancel_all(wiring: Wiring, session: Session, scope: Scope) -> int:
    """What somebody has under way; how many there were."""
    unfinished = repository.unfinished(session, scope)
    for task in unfinished:
        _cancel(wiring, session, task)
    return len(unfinished)


def _cancel(wiring: Wiring, session: Session, task: Task) -> None:
    """The task is locked: nobody else changes it."""
    if task.status == "queued":
        # Attempts of a killed worker may have left files; those of a living one are its own to remove.
        key = keys.task_key(task.source_name, task.id)
        after_commit(session, partial(wiring.storage.delete, key))
    lifecycle.cancel(session, task.id, task.status, task.attempt)
