"""Results on their way out: stems with Range, archives as a stream, events as they happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from pydantic import BaseModel, ConfigDict, Field
from zipstream import ZIP_STORED, ZipStream

from backend import storage as keys
from backend.auth.caller import ReadingCaller
from backend.auth.reader import LinkReader, TicketReader
from backend.errors import describes
from backend.identity import PathId
from backend.realtime.feed import Feed
from backend.sessions import Reading, WiringOf, Writing
from backend.song_response import song_response
from backend.task import service
from backend.ticket import service as tickets
from backend.way_in import WayIn
from engine.formats import CONTAINERS, make_format

router = APIRouter(tags=["results"])

MEDIA_TYPES = [make_format(container).media_type for container in CONTAINERS]


@router.get(
    "/tasks/{task_id}/stems/{stem}",
    response_class=FileResponse,
    responses={
        200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in MEDIA_TYPES}},
        307: {"description": "Temporary Redirect: the storage gives it, at an address that is good for some minutes"},
        **describes(401, 403, 404, 409, 416, 503),
    },
)
def stem(
    request: Request, task_id: PathId, stem: str, reader: LinkReader, session: Reading, wiring: WiringOf
) -> Response:
    """A stem as audio; takes `Range`, so players can seek. A signed link needs no token.

    Where the service keeps its files in an S3 storage, the answer may be a redirect to it: follow it without a token.
    """
    artifact = service.artifact(session, reader.reading_scope, task_id, stem)
    task = service.get(session, reader.reading_scope, task_id)
    return song_response(
        wiring.storage,
        artifact.storage_key,
        method=request.method,
        size=artifact.size,
        modified=task.finished_at or task.created_at,
        media_type=artifact.media_type,
        filename=f"{keys.safe_name(task.source_name)}-{stem}{_suffix(artifact.storage_key)}",
        headers={"Cache-Control": "private, max-age=3600", "ETag": f'"{artifact.sha256}"'},
    )


router.add_api_route("/tasks/{task_id}/stems/{stem}", stem, methods=["HEAD"], include_in_schema=False)


@router.get(
    "/tasks/{task_id}/archive",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}},
        **describes(401, 403, 404, 409, 503),
    },
)
def archive(task_id: PathId, reader: LinkReader, session: Reading, wiring: WiringOf) -> StreamingResponse:
    """All stems and the receipt as one zip, streamed. A signed link needs no token."""
    record = service.record(session, reader.reading_scope, task_id)
    if not record.artifacts:
        raise service.TaskNotFinished(f"The task is {record.task.status}: it has no stems.")
    name = keys.safe_name(record.task.source_name)
    # Audio does not deflate: stored, so that the length is known ahead.
    bundle = ZipStream(compress_type=ZIP_STORED, sized=True)
    wiring.storage.size(record.artifacts[0].storage_key)  # refused now, when the storage is away, rather than cut off
    for artifact in record.artifacts:
        inside = f"{name}/{artifact.name}{_suffix(artifact.storage_key)}"
        bundle.add(wiring.storage.read(artifact.storage_key), inside, size=artifact.size)
    headers = {
        "Content-Length": str(len(bundle)),
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(name)}.zip",
    }
    return StreamingResponse(iter(bundle), media_type="application/zip", headers=headers)


def _feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


def _watched(task_id: PathId, reader: TicketReader, wiring: WiringOf) -> tuple[UUID, WayIn]:
    """Checked before the stream starts: afterwards it is too late for a 404."""
    with wiring.database.read() as session:
        return service.get(session, reader.scope, task_id).id, reader.way_in


@router.get(
    "/tasks/{task_id}/events",
    response_class=EventSourceResponse,
    responses=describes(401, 403, 404),
)
async def events(
    watched: Annotated[tuple[UUID, WayIn], Depends(_watched, scope="function")],
    feed: Annotated[Feed, Depends(_feed)],
    last_event_id: Annotated[int, Header(ge=0, lt=2**31, description="Go on after this event")] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Server-sent events until the task is finished, or the login or key that opened the stream ends.

    `state` events are numbered and come in order, once each: reconnect with `Last-Event-ID` to go on.
    `progress` events tell the latest progress and place in the queue. A ticket needs no token.
    """
    task_id, way_in = watched
    async for update in feed.listen(task_id, last_event_id, way_in):
        yield ServerSentEvent(event=update.kind, data=update.data, id=None if update.seq is None else str(update.seq))


class TicketRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    task_id: UUID


class TicketView(BaseModel):
    ticket: str
    expires_in: int = Field(description="Seconds")


@router.post("/tickets", status_code=201, responses=describes(401, 403, 404))
def ticket(body: TicketRequest, caller: ReadingCaller, session: Writing, wiring: WiringOf) -> TicketView:
    """A pass for one look at a task's events, for a browser that can't send a token: `?ticket=…`."""
    task = service.get(session, caller.scope, body.task_id)
    seconds = wiring.settings.auth.ticket_seconds
    return TicketView(ticket=tickets.issue(session, caller.way_in, task.id, seconds), expires_in=seconds)


def _suffix(key: str) -> str:
    return key[key.rindex(".") :]
