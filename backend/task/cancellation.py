"""Cancelling: a task that is not finished ends at once, with its credits given back.

A worker that holds it finds its lease gone within about a second, stops, and removes what it has written. Should it
die before that, or have died in an earlier attempt, the sweep does (`leftovers`): nobody who cancels waits for the
storage.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

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
        lifecycle.cancel(session, task.id, task.status, task.attempt)


def cancel_all(session: Session, scope: Scope) -> int:
    """What somebody has under way; how many there were."""
    unfinished = repository.unfinished(session, scope)
    for task in unfinished:
        lifecycle.cancel(session, task.id, task.status, task.attempt)
    return len(unfinished)
