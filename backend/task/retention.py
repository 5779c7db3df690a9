"""What is kept for so long and no longer: the sweep deletes old songs and results, as their owner would.

Rows first, files after the commit (`backend.removal`), some at a time, and on any number of hosts at once: each takes
rows that no other has. What is not finished is never touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from sqlalchemy.orm import Session

from backend import removal
from backend import storage as keys
from backend.audit import service as audit
from backend.audit.service import SERVICE
from backend.clock import utc_now
from backend.models import Task, Upload
from backend.storage import ABANDONED_SECONDS
from backend.task import retention_repository as repository
from backend.upload import content
from backend.wiring import Wiring

AT_ONCE = 500
LATE_SECONDS = 3600.0
"""How late a worker may still put down the result of a task that was taken from it."""
Rows = Sequence[tuple[UUID, UUID, str]]


def apply(wiring: Wiring, at_once: int = AT_ONCE) -> bool:
    """Delete what is due, at most `at_once` songs and as many tasks of each period; whether there may be more."""
    usual = wiring.settings.tenant.retention_days
    with wiring.database.read() as session:
        periods = repository.periods(session, usual)
    full = [_apply(wiring, days, usual, at_once) for days in periods]
    return any(full)


def go_on(wiring: Wiring) -> None:
    """Remove the files that processes which died in between have left behind their deleted rows."""
    for leaving, since in removal.remaining(wiring.storage):
        with wiring.database.read() as session:
            tasks = repository.deleted(session, Task, list(leaving.tasks))
            uploads = repository.deleted(session, Upload, list(leaving.uploads))
        songs = content.unused(wiring, [leaving.uploads[row] for row in uploads])
        removed = removal.remove(wiring.storage, [*(leaving.tasks[row] for row in tasks), *songs])
        complete = len(tasks) + len(uploads) == len(leaving.tasks) + len(leaving.uploads)
        age = (utc_now() - since).total_seconds()
        # Of a transaction as old as that, which was not committed, the rows are kept, and so are the files.
        wait = ABANDONED_SECONDS if not complete else LATE_SECONDS if leaving.lingers else 0
        if removed and age >= wait:
            removal.forget(wiring.storage, leaving)


def _apply(wiring: Wiring, days: int, usual: int | None, at_once: int) -> bool:
    with wiring.database.read() as session:
        found = _due(session, days, usual, at_once)
    if not any(found):
        return False
    # While no row is held: a storage may take its time.
    leaving = removal.announce(
        wiring.storage,
        {task_id: keys.task_key(name, task_id) for task_id, _, name in found[0]},
        {upload_id: key for upload_id, _, key in found[1]},
    )
    with wiring.database.write() as session:
        due = _due(session, days, usual, at_once)  # again, and ours now
        tasks = [row for row in due[0] if row[0] in leaving.tasks]
        uploads = [row for row in due[1] if row[0] in leaving.uploads]
        repository.mark_deleted(session, [row[0] for row in tasks], [row[0] for row in uploads])
        _record(session, days, tasks, uploads)
    gone = replace(
        leaving,
        tasks={row[0]: leaving.tasks[row[0]] for row in tasks},
        uploads={row[0]: leaving.uploads[row[0]] for row in uploads},
    )
    removal.finish(wiring.storage, gone, partial(content.unused, wiring))
    return at_once in (len(tasks), len(uploads))


def _due(session: Session, days: int, usual: int | None, at_once: int) -> tuple[Rows, Rows]:
    """Tasks and songs."""
    before = repository.cutoff(session, days)
    return (
        repository.due_tasks(session, days, usual, before, at_once),
        repository.due_uploads(session, days, usual, before, at_once),
    )


def _record(session: Session, days: int, tasks: Rows, uploads: Rows) -> None:
    counts = Counter(tenant_id for _, tenant_id, _ in tasks), Counter(tenant_id for _, tenant_id, _ in uploads)
    for tenant_id in sorted(counts[0].keys() | counts[1].keys()):
        after = {"days": days, "tasks": counts[0][tenant_id], "uploads": counts[1][tenant_id]}
        audit.record(session, SERVICE, "retention.applied", tenant_id=tenant_id, target=tenant_id, after=after)
