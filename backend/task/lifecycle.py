"""The life of a task: every change of its state, with its event and its money in one transaction.

`TRANSITIONS` is the whole of it; docs/architecture.md draws it, the database refuses what is not in it
(`migrations.state_triggers`). Whoever comes late (a worker whose lease went to another, a second sweep) changes
nothing and is told so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import service as credit
from backend.db import Database
from backend.line import service as line
from backend.line.service import Waiting
from backend.models import Artifact, Event, Task
from backend.models.task import FINISHED, TaskStatus
from backend.part import service as parts
from backend.tally import service as tally
from backend.task import lease_repository, repository
from backend.task.lease_repository import PARTS as PARTS
from backend.tenant.scope import Scope
from backend.upload import service as uploads
from backend.webhook import service as webhooks
from engine.audio import AudioInfo

TRANSITIONS: Mapping[tuple[TaskStatus, TaskStatus], str] = {
    ("queued", "processing"): "claim",
    ("queued", "cancelled"): "cancel",
    ("processing", "completed"): "complete",
    ("processing", "failed"): "fail",
    ("processing", "cancelled"): "cancel",
    ("processing", "queued"): "requeue",
}
"""What happens, by the states before and after it; `complete` captures the credits, `fail` and `cancel` release."""

WORKER_LOST = ("worker_lost", "The workers that tried this task all stopped in the middle of it.")


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker needs to know of the task that it has taken."""

    task_id: UUID
    tenant_id: UUID
    attempt: int
    failures: int
    source_name: str
    source_key: str
    source: AudioInfo
    step_id: UUID
    model: str
    options: Mapping[str, Any]
    traceparent: str | None = None
    """Of the request that ordered it."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A result under its key, ready to become an artifact row."""

    kind: str
    name: str
    key: str
    media_type: str
    size: int
    sha256: str


def claim(
    database: Database,
    worker: str,
    lease_seconds: float,
    plans: Mapping[str, int] = line.NO_PLANS,
    concurrent: int | None = None,
) -> Claim | None:
    """Take the next task, if there is one.

    `plans` says how many turns a tenant has in a round, `concurrent` how many of its tasks run at once where it has
    no limit of its own.
    """
    with database.write() as session:
        # Another worker may have what the first one has left, or hold it just now: then the second's is next.
        waiting = line.look(session, plans, concurrent)
        claims = (_take(session, waiting.waiting[each], worker, lease_seconds) for each in waiting.order())
        task = next((task for task in claims if task is not None), None)
        if task is None:
            return None
        _record(session, task, {"attempt": task.attempt})
        step = repository.steps(session, task.tenant_id, [task.id])[task.id]
        upload = uploads.get(session, Scope(task.tenant_id, task.user_id), task.upload_id)
        return Claim(
            task_id=task.id,
            tenant_id=task.tenant_id,
            attempt=task.attempt,
            failures=task.failures,
            source_name=task.source_name,
            source_key=upload.storage_key,
            source=uploads.audio_info(upload),
            step_id=step.id,
            model=step.model,
            options=step.options,
            traceparent=task.traceparent,
        )


def renew(database: Database, claim: Claim, lease_seconds: float, progress: float, stage: str) -> bool:
    """Keep the lease and say how far it is; False when it is lost: cancelled, or another's."""
    with database.write() as session:
        return lease_repository.renew(session, claim.task_id, claim.attempt, lease_seconds, progress, stage)


def complete(database: Database, claim: Claim, receipt: dict[str, Any], files: Sequence[StoredFile]) -> bool:
    """Finish with these results; False when the lease was lost: they must then be removed."""
    with database.write() as session:
        task = _leave(session, claim.task_id, "processing", claim.attempt, "completed", progress=1.0, stage=None)
        if task is None:
            return False
        repository.add(session, *(_artifact(claim, file) for file in files))
        step = repository.steps(session, claim.tenant_id, [claim.task_id])[claim.task_id]
        step.receipt = receipt
        credit.capture(session, task.tenant_id, task.id)
        tally.completed(session, task, step.model)
        if PARTS not in receipt:  # made by several workers or in several attempts, it tells nobody's pace
            assert task.finished_at is not None and task.claimed_at is not None
            line.measured(session, step.model, task.seconds, (task.finished_at - task.claimed_at).total_seconds())
        _record(session, task, {"stems": [file.name for file in files if file.kind == "stem"]})
        return True


def where(database: Database, claim: Claim) -> tuple[str, int]:
    """The task's status and attempt as they are now."""
    with database.read() as session:
        return lease_repository.where(session, claim.task_id)


def fail(
    database: Database, claim: Claim, code: str, message: str, *, transient: bool, max_attempts: int
) -> str | None:
    """Back to the queue when it may go better next time, else failed; the new status, None when too late."""
    with database.write() as session:
        if transient and claim.failures + 1 < max_attempts:
            task = _requeue(session, claim.task_id, claim.attempt, code, failures=claim.failures + 1)
        else:
            task = _fail(session, claim.task_id, claim.attempt, code, message)
        return task.status if task else None


def give_back(database: Database, claim: Claim, reason: str) -> None:
    """Hand an unfinished task back, for instance when the worker is told to stop."""
    with database.write() as session:
        _requeue(session, claim.task_id, claim.attempt, reason, failures=claim.failures)


def cancel(session: Session, task_id: UUID, status: TaskStatus, attempt: int) -> bool:
    """End a task at once. A worker that holds it finds its lease gone, stops and removes its files."""
    return _cancel(session, task_id, status, attempt) is not None


def rescue_expired(database: Database, max_attempts: int) -> list[Task]:
    """Give the tasks of silent workers to others; those tasks, as they are now."""
    with database.read() as session:
        found = lease_repository.expired(session)
    return _rescue_all(database, found, max_attempts, expired_only=True)


def rescue_own(database: Database, worker: str, max_attempts: int) -> list[Task]:
    """What a worker held before it died, when it starts again: nobody needs to wait for the lease."""
    with database.read() as session:
        found = lease_repository.held_by(session, worker)
    return _rescue_all(database, found, max_attempts, expired_only=False)


def ready(session: Session, concurrent: int | None = None) -> int:
    """How many tasks a worker could take now."""
    return line.ready(session, concurrent)


def any_expired(session: Session) -> bool:
    return bool(lease_repository.expired(session))


def record_queued(session: Session, task: Task) -> None:
    """The first event of a task that has just been written."""
    _record(session, task, {"credits": credit.shown(task.price)})


def _take(session: Session, waiting: Waiting, worker: str, lease_seconds: float) -> Task | None:
    if waiting.limit is None:
        return lease_repository.claim(session, waiting.tenant_id, worker, lease_seconds)
    with session.begin_nested() as attempt:
        task = None
        if line.has_room(session, waiting):
            task = lease_repository.claim(session, waiting.tenant_id, worker, lease_seconds)
        if task is None:
            attempt.rollback()  # let go of the tenant: who holds one and waits for the next might wait for ever
        return task


def _rescue_all(database: Database, tasks: Sequence[Task], max_attempts: int, *, expired_only: bool) -> list[Task]:
    """Each in a transaction of its own: who held one's row and waited for the next's account could wait for ever."""
    rescued = []
    for task in tasks:
        with database.write() as session:
            rescued.append(_rescue(session, task, max_attempts, expired_only=expired_only))
    return [task for task in rescued if task is not None]


def _rescue(session: Session, task: Task, max_attempts: int, *, expired_only: bool) -> Task | None:
    if task.cancel_requested:  # by an API of the former release, whose worker died
        return _cancel(session, task.id, "processing", task.attempt)
    failures = task.failures + 1
    if failures >= max_attempts:
        return _fail(session, task.id, task.attempt, *WORKER_LOST, expired_only=expired_only)
    return _requeue(session, task.id, task.attempt, WORKER_LOST[0], failures=failures, expired_only=expired_only)


def _cancel(session: Session, task_id: UUID, status: TaskStatus, attempt: int) -> Task | None:
    task = _leave(session, task_id, status, attempt, "cancelled", stage=None)
    if task is not None:
        credit.release(session, task.tenant_id, task.id)
        _record(session, task, {})
    return task


def _fail(
    session: Session, task_id: UUID, attempt: int, code: str, message: str, *, expired_only: bool = False
) -> Task | None:
    error = {"error_code": code, "error_message": message}
    task = _leave(session, task_id, "processing", attempt, "failed", expired_only=expired_only, stage=None, **error)
    if task is not None:
        credit.release(session, task.tenant_id, task.id)
        _record(session, task, error)
    return task


def _requeue(
    session: Session, task_id: UUID, attempt: int, reason: str, *, failures: int, expired_only: bool = False
) -> Task | None:
    values = {"failures": failures, "progress": 0.0, "stage": None}
    task = _leave(session, task_id, "processing", attempt, "queued", expired_only=expired_only, **values)
    if task is not None:
        _record(session, task, {"reason": reason})
    return task


def _leave(
    session: Session,
    task_id: UUID,
    status: TaskStatus,
    attempt: int,
    into: TaskStatus,
    *,
    expired_only: bool = False,
    **values: Any,
) -> Task | None:
    if (status, into) not in TRANSITIONS:
        raise ValueError(f"a task never goes from {status} to {into}")
    return lease_repository.leave(
        session, task_id, status=status, attempt=attempt, into=into, expired_only=expired_only, **values
    )


def _record(session: Session, task: Task, data: dict[str, Any]) -> None:
    """The statement that changed the task has numbered the event, under the row's lock."""
    repository.add(
        session,
        Event(task_id=task.id, seq=task.last_event, tenant_id=task.tenant_id, kind=task.status, data=data),
    )
    if task.status in FINISHED:
        parts.remove(session, task.tenant_id, task.id)
        webhooks.task_finished(session, task)


def _artifact(claim: Claim, file: StoredFile) -> Artifact:
    return Artifact(
        tenant_id=claim.tenant_id,
        task_id=claim.task_id,
        step_id=claim.step_id,
        attempt=claim.attempt,
        kind=file.kind,
        name=file.name,
        storage_key=file.key,
        media_type=file.media_type,
        size=file.size,
        sha256=file.sha256,
    )
