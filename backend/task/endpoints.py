from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from backend.auth.caller import ReadingCaller, SeparatingCaller
from backend.errors import describes
from backend.identity import PathId
from backend.models.task import TaskStatus
from backend.paging import one_page
from backend.rate_limit import RateLimits
from backend.sessions import Reading, WiringOf
from backend.task import cancellation, deletion, service
from backend.task.ordering import ManySongs, OneSong
from backend.task.schemas import Accepted, BatchAccepted, HistoryRow, LogEntry, TaskView
from backend.task.views import history_rows, task_view

ALL_AT_ONCE = 1000


def separate(request: Request, ordering: OneSong, wiring: WiringOf) -> Accepted:
    """Order the stems of a song: of the sample library or one that you have sent.

    Answers at once with the task's id; its credits are put aside. Follow it at `/status/{task_id}` or, live,
    at `/tasks/{task_id}/events`.
    """
    answer = ordering.submit(wiring)
    return Accepted(task_id=answer["task_ids"][0], **{k: v for k, v in answer.items() if k != "task_ids"})


def submit_batch(request: Request, ordering: ManySongs, wiring: WiringOf) -> BatchAccepted:
    """Order the stems of many songs in one request: all are taken or none, and the limit counts one."""
    return BatchAccepted.model_validate(ordering.submit(wiring))


def status(task_id: PathId, caller: ReadingCaller, session: Reading, wiring: WiringOf) -> TaskView:
    """Where a task is: state, progress, place in the queue, and its stems when it is completed."""
    return task_view(wiring, session, service.record(session, caller.reading_scope, task_id), caller.way_in)


def log(
    task_id: PathId,
    caller: ReadingCaller,
    session: Reading,
    after: Annotated[int, Query(ge=0, lt=2**31, description="Only what came after this event")] = 0,
) -> list[LogEntry]:
    """What has happened to a task, oldest first, up to 1,000 changes of its state: what its events tell live."""
    found = service.log_of(session, caller.reading_scope, task_id, after, ALL_AT_ONCE)
    return [LogEntry(seq=each.seq, status=each.kind, data=each.data, at=each.created_at) for each in found]


def history(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    wiring: WiringOf,
    status: TaskStatus | None = None,
    limit: Annotated[int | None, Query(ge=1, le=ALL_AT_ONCE)] = None,
    cursor: UUID | None = None,
) -> list[HistoryRow]:
    """Your tasks, newest first.

    Without `limit` up to 1,000 rows. `Link` says where the rest is, `X-Total-Count` how many there are; it is left
    out when they are more than 1,000.
    """
    size = limit or ALL_AT_ONCE
    records, total = service.history(session, caller.scope, status=status, before=cursor, limit=size + 1)
    if total is not None:
        response.headers["X-Total-Count"] = str(total)
    page = one_page(request, response, records, size, lambda record: record.task.id)
    return history_rows(wiring, page, caller.way_in)


def cancel(task_id: PathId, caller: SeparatingCaller, wiring: WiringOf) -> TaskView:
    """Stop a task: it is cancelled at once, and its credits are given back."""
    cancellation.cancel(wiring, caller.scope, task_id)
    with wiring.database.read() as session:
        return task_view(wiring, session, service.record(session, caller.scope, task_id), caller.way_in)


def retry(request: Request, task_id: PathId, caller: SeparatingCaller, wiring: WiringOf) -> Accepted:
    """Repeat a failed or cancelled task as a new one, with the same song, model and options."""
    task = service.retry(wiring, caller.scope, task_id)
    with wiring.database.read() as session:
        view = task_view(wiring, session, service.record(session, caller.scope, task.id), caller.way_in)
    return Accepted(task_id=view.task_id, status=view.status, model=view.model, price=view.credits)


def delete(task_id: PathId, caller: SeparatingCaller, wiring: WiringOf) -> None:
    """Delete a finished task with its stems. Owners and admins may delete those of people who have left, too."""
    deletion.delete(wiring, caller.scope, task_id, caller.keeper)


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=["tasks"])
    submitting = describes(401, 402, 403, 404, 422, 429)
    router.post("/separate", status_code=202, responses=submitting)(limits.separate(separate))
    router.post("/tasks", status_code=202, responses=submitting)(limits.separate(submit_batch))
    router.get("/status/{task_id}", responses=describes(401, 403, 404))(status)
    router.get("/tasks/{task_id}", name="task", responses=describes(401, 403, 404))(status)
    router.get("/tasks/{task_id}/log", responses=describes(401, 403, 404))(log)
    router.get("/history", responses=describes(401, 403))(history)
    router.post("/tasks/{task_id}/cancel", responses=describes(401, 403, 404, 409))(cancel)
    router.post("/tasks/{task_id}/retry", status_code=202, responses=describes(401, 402, 403, 404, 409, 429))(
        limits.separate(retry)
    )
    router.delete("/tasks/{task_id}", status_code=204, responses=describes(401, 403, 404, 409))(delete)
    return router
