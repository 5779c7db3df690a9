"""Deleting a finished task, one's own or what somebody left behind who is no longer in the tenant."""

from __future__ import annotations

from uuid import UUID

from backend import removal
from backend import storage as keys
from backend.audit.service import Actor
from backend.models.task import FINISHED
from backend.task import repository
from backend.task.service import TaskNotFinished, TaskNotFound
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.wiring import Wiring


def delete(wiring: Wiring, scope: Scope, task_id: UUID, keeper: Actor | None) -> None:
    """Remove it from the history, and its files; the ledger keeps its entries. For `keeper` see `tenants.take_up`.

    Raises TaskNotFound, TaskNotFinished.
    """
    with wiring.database.write() as session:
        task = repository.get(session, scope, task_id, lock=True)
        if task is None and keeper is not None:
            left = repository.get(session, Scope(scope.tenant_id, None), task_id, lock=True)
            task = tenants.take_up(session, keeper, left, "task.deleted")
        if task is None:
            raise TaskNotFound
        if task.status not in FINISHED:
            raise TaskNotFinished(f"The task is {task.status}: cancel it before you delete it.")
        repository.mark_deleted(session, Scope(task.tenant_id, task.user_id), task_id)
    removal.remove_soon(wiring.storage, [keys.task_key(task.source_name, task.id)])
