"""Submitting, looking up and repeating tasks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import service as credit
from backend.db import after_commit
from backend.idempotency import service as idempotency
from backend.identity import new_id
from backend.line import service as line
from backend.logs import about
from backend.models import Event, Step, Task, Upload
from backend.models.task import FINISHED
from backend.problem import Problem
from backend.task import lifecycle, repository
from backend.task.listed import ListedRecord, Made
from backend.task.options import Options, from_row
from backend.task.order import Order
from backend.tenant import limits
from backend.tenant.scope import Scope
from backend.upload import service as uploads
from backend.webhook import service as webhooks
from backend.wiring import Wiring

log = logging.getLogger(__name__)

MOST_COUNTED = 1_000
"""As many as a page holds at most. To count takes the longer the more there are, and lists shall take the same time."""


class TaskNotFound(Problem):
    status = 404
    code = "task_not_found"
    detail = "There is no such task."
    advice = "Check the id; GET /api/v1/history lists your tasks."


class TaskFinished(Problem):
    status = 409
    code = "task_finished"
    detail = "The task is finished."
    advice = "A failed or cancelled task can be repeated with POST /api/v1/tasks/{id}/retry."


class TaskNotFinished(Problem):
    status = 409
    code = "task_not_finished"
    detail = "The task is not finished."
    advice = "Wait until it is completed; GET /api/v1/tasks/{id}/events tells you when."


class TaskRepeated(Problem):
    status = 409
    code = "task_repeated"
    advice = "Follow that task with GET /api/v1/tasks/{id}; if it fails, either can be repeated again."


class StemNotFound(Problem):
    status = 404
    code = "stem_not_found"
    detail = "The task has no such stem."
    advice = "GET /api/v1/tasks/{id} lists its stems."


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """A task with all that its answer shows."""

    task: Task
    step: Step
    artifacts: Sequence[Made]
    source_key: str


def submit(
    wiring: Wiring, scope: Scope, songs: Sequence[Upload], order: Order, key: str | None, fingerprint: str
) -> dict[str, Any]:
    """Tasks for these songs, all or none: rows, holds and the answer in one transaction.

    Returns the answer, which under a repeated Idempotency-Key is the one given before.
    Raises CreditsExhausted, ModelUnknown, StemsUnknown, PartOutsideSong, KeyReused, MembershipEnded,
    AudioMinutesUsedUp, StorageUsedUp.
    """
    spec = wiring.models.choose(order.model, order.stems)
    with wiring.database.write() as session:
        if key is not None and not idempotency.reserve(session, scope, key, fingerprint):
            given = idempotency.answer_given(session, scope, key, fingerprint)
            assert given is not None
            return given
        admitted = limits.admit(session, wiring.settings, scope)
        limits.use_storage(session, admitted, 0)
        # Looked up again: a task whose song was deleted since would stop every worker that claims it.
        kept = [uploads.keep(session, scope, song.id) for song in songs]
        parts = [(song, order.options(spec, song.filename, song.seconds)) for song in kept]
        limits.use_audio(session, admitted, sum(options.seconds_of(song.seconds) for song, options in parts))
        credit.require(session, scope, sum(_price(wiring, song, options) for song, options in parts))
        tasks = [_create(wiring, session, scope, song, spec.id, options) for song, options in parts]
        answer = {
            "task_ids": [str(task.id) for task in tasks],
            "status": "queued",
            "model": spec.id,
            "price": credit.shown(sum(task.price for task in tasks)),
        }
        if order.webhook is not None:
            secret = webhooks.create_for_tasks(session, tasks, order.webhook, order.webhook_secret)
            answer |= {"webhook_secret": secret}
        if key is not None:
            idempotency.keep(session, scope, key, answer)
        for _ in tasks:
            after_commit(session, wiring.bell.ring)
        return answer


def answered_before(wiring: Wiring, scope: Scope, key: str | None, fingerprint: str) -> dict[str, Any] | None:
    """The answer already given under this key; before anything else is looked at, so that it never changes."""
    if key is None:
        return None
    with wiring.database.read() as session:
        return idempotency.answer_given(session, scope, key, fingerprint)


def get(session: Session, scope: Scope, task_id: UUID, *, lock: bool = False) -> Task:
    """Raises TaskNotFound, for a stranger's task as for none."""
    task = repository.get(session, scope, task_id, lock=lock)
    if task is None:
        raise TaskNotFound
    return task


def record(session: Session, scope: Scope, task_id: UUID) -> TaskRecord:
    """Raises TaskNotFound."""
    found = repository.looked_at(session, scope, task_id)
    if found is None:
        raise TaskNotFound
    task, step, source = found
    made = repository.artifacts(session, scope.tenant_id, task.id) if task.status == "completed" else ()
    return TaskRecord(task, step, made, source)


def history(
    session: Session, scope: Scope, *, status: str | None, before: UUID | None, limit: int
) -> tuple[list[ListedRecord], int | None]:
    """(a page, newest first; how many there are in all, None when they are more than are counted)."""
    most = MOST_COUNTED + 1
    found, total = repository.page(session, scope, status=status, before=before, limit=limit, most=most)
    if before is None and len(found) < limit:
        return found, len(found)
    if total is None:
        total = repository.count(session, scope, status=status, most=most)
    return found, total if total <= MOST_COUNTED else None


def page(session: Session, scope: Scope, *, status: str | None, before: UUID | None, limit: int) -> list[ListedRecord]:
    """Newest first, from after the task `before`."""
    found, _ = repository.page(session, scope, status=status, before=before, limit=limit)
    return found


def log_of(session: Session, scope: Scope, task_id: UUID, after: int, limit: int) -> list[Event]:
    """Its changes of state from after event `after`, oldest first; raises TaskNotFound."""
    get(session, scope, task_id)
    return repository.events_after(session, scope.tenant_id, task_id, after, limit)


def artifact(session: Session, scope: Scope, task_id: UUID, name: str) -> Made:
    """A finished task's stem or receipt; raises TaskNotFound, TaskNotFinished, StemNotFound."""
    found = record(session, scope, task_id)
    if found.task.status not in FINISHED:
        raise TaskNotFinished(f"The task is {found.task.status}: its stems are not there yet.")
    for candidate in found.artifacts:
        if candidate.name == name:
            return candidate
    raise StemNotFound


def retry(wiring: Wiring, scope: Scope, task_id: UUID) -> Task:
    """The same again as a new task; raises TaskNotFinished, TaskFinished, TaskRepeated, CreditsExhausted."""
    with wiring.database.write() as session:
        admitted = limits.admit(session, wiring.settings, scope)
        get(session, scope, task_id, lock=True)  # of several at once, one repeats it
        old = record(session, scope, task_id)
        if old.task.status not in FINISHED:
            raise TaskNotFinished(f"The task is {old.task.status}: there is nothing to repeat yet.")
        if old.task.status == "completed":
            raise TaskFinished("The task is completed: there is nothing to repeat.")
        if repeat := repository.repeat_of(session, scope, task_id):
            raise TaskRepeated(f"Task {repeat} repeats this one.")
        limits.use_storage(session, admitted, 0)
        limits.use_audio(session, admitted, old.task.seconds)
        song = uploads.keep(session, scope, old.task.upload_id)
        task = _create(wiring, session, scope, song, old.step.model, options(wiring, old.step), retry_of=old.task.id)
        webhooks.pass_on(session, old.task, task)
        after_commit(session, wiring.bell.ring)
        return task


def options(wiring: Wiring, step: Step) -> Options:
    """As they were frozen in the step; its model may have left the catalogue since."""
    catalog = wiring.models.catalog
    return from_row(step.options, catalog[step.model].stems if step.model in catalog else ())


def waiting(wiring: Wiring, session: Session, record: TaskRecord) -> tuple[int | None, float | None]:
    """(how many tasks are before it, seconds until it is probably done); None where nothing is known yet."""
    task, model = record.task, record.step.model
    if task.status == "processing":
        speed = line.speeds(session).of(model)
        return None, task.seconds * (1 - task.progress) / speed if speed else None
    if task.status == "queued":
        settings = wiring.settings
        plans, concurrent = settings.queue.plans, settings.tenant.concurrent_tasks
        # A crowd that waits asks every other second, each of them for the same but their own place in it.
        seen: line.Outlook = wiring.moments.get("outlook") or wiring.moments.ask(
            "outlook", lambda: line.outlook(session, plans, concurrent)
        )
        return line.forecast(session, task, model, seen, settings.worker.slots)
    return None, None


def _price(wiring: Wiring, song: Upload, options: Options) -> int:
    """Of a part of a song: its own seconds."""
    return credit.price(wiring.settings.credit, options.seconds_of(song.seconds))


def _create(
    wiring: Wiring,
    session: Session,
    scope: Scope,
    song: Upload,
    model: str,
    options: Options,
    *,
    retry_of: UUID | None = None,
) -> Task:
    assert scope.user_id is not None
    price = _price(wiring, song, options)
    task = Task(
        id=new_id(),
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        upload_id=song.id,
        source_name=song.filename,
        seconds=options.seconds_of(song.seconds),
        price=price,
        status="queued",
        last_event=1,
        retry_of=retry_of,
        traceparent=wiring.tracing.traceparent(),
    )
    repository.add(session, task)
    repository.add(
        session,
        Step(
            tenant_id=scope.tenant_id,
            task_id=task.id,
            position=0,
            op="separate",
            model=model,
            options=options.to_row(),
            price=price,
        ),
    )
    credit.hold(session, scope.tenant_id, scope.user_id, price, task.id)
    lifecycle.record_queued(session, task)
    after_commit(session, partial(_log_ordered, task.id, model, task.seconds))
    return task


def _log_ordered(task_id: UUID, model: str, seconds: float) -> None:
    with about(task=str(task_id)):
        log.info("task ordered: %.1f s with %s", seconds, model)
