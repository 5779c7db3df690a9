from __future__ import annotations

from functools import partial
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from backend.auth.caller import ReadingCaller, SeparatingCaller
from backend.credit import service as credit
from backend.errors import describes
from backend.identity import PathId
from backend.models import Upload
from backend.paging import one_page
from backend.sessions import Reading, WiringOf
from backend.settings import Settings
from backend.threads import in_thread
from backend.upload import completion, sending, service
from backend.upload.admission import Admission, StorageTurns, UploadsBusy
from backend.upload.receive import FIELD, drain, receive_file
from backend.upload.schemas import LinkPart, LinkRequest, LinkUsed, LinkView, UploadView, UploadWarning

router = APIRouter(prefix="/uploads", tags=["songs"], responses=describes(401, 403))
links = APIRouter(prefix="/upload-links", tags=["songs"], responses=describes(401, 403))
"""Apart: below `/uploads` their names would be taken for songs' ids."""

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary", "description": "The song"}},
                }
            }
        },
    }
}


def _view(settings: Settings, upload: Upload) -> UploadView:
    return UploadView(
        id=upload.id,
        filename=upload.filename,
        duration=upload.seconds,
        rate=upload.rate,
        channels=upload.channels,
        format=service.container_name(upload),
        codec=upload.codec,
        size=upload.size,
        sha256=upload.sha256,
        price=credit.shown(credit.price(settings.credit, upload.seconds)),
        created_at=upload.created_at,
        warnings=[UploadWarning(code=code, detail=detail) for code, detail in service.warnings(upload)],
    )


@router.post("", status_code=201, openapi_extra=_BODY, responses=describes(408, 413, 415, 422, 503))
async def upload(request: Request, caller: SeparatingCaller, wiring: WiringOf) -> UploadView:
    """Send a song: mp3, wav, flac, ogg, m4a/aac, opus or aiff, as the part `file` of a form.

    It is streamed to disk and its seconds are counted; the answer says what separating it costs.
    """
    admission: Admission = request.app.state.admission
    try:
        with admission.place(caller.scope.tenant_id):
            await in_thread(service.require_room, wiring, caller.scope)
            with wiring.storage.incoming() as folder:
                path = folder / "source"
                received = await receive_file(request, path, wiring.settings.upload.max_bytes)
                stored = await admission.count(partial(service.store, wiring, caller.scope, path, received))
    except UploadsBusy:
        await drain(request)
        raise
    return _view(wiring.settings, stored)


@links.post("", status_code=201, responses=describes(409, 413, 422, 503))
async def link(request: Request, body: LinkRequest, caller: SeparatingCaller, wiring: WiringOf) -> LinkView:
    """Where the service keeps its files in an S3 storage: links to send a song to it, past the API.

    PUT the bytes of each part to its link, then call POST /upload-links/complete. With 409 `uploads_go_through_api`
    there are no links: use POST /uploads, which always works.
    """
    turns: StorageTurns = request.app.state.linking
    async with turns.turn(caller.scope.tenant_id):
        offer = await turns.run(partial(sending.offer, wiring, caller.scope, body.filename, body.size, body.sha256))
    parts = [LinkPart(url=part.url, headers=part.headers, start=part.start, size=part.size) for part in offer.parts]
    return LinkView(ticket=offer.ticket, parts=parts, expires_in=offer.seconds)


@links.post("/complete", status_code=201, responses=describes(409, 413, 415, 422, 503))
async def complete(request: Request, body: LinkUsed, caller: SeparatingCaller, wiring: WiringOf) -> UploadView:
    """Say that a song was sent to its links. It is looked at as one that comes through the API; the answer is the same.

    May be said again: the same song is the answer.
    """
    admission: Admission = request.app.state.admission
    stored = await completion.complete(wiring, caller.scope, body.ticket, admission, request.app.state.fetching)
    return _view(wiring.settings, stored)


@router.get("")
def uploads(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    wiring: WiringOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[UploadView]:
    """Your songs, newest first; the next page is in the `Link` header."""
    found = service.page(session, caller.scope, before=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda row: row.id)
    return [_view(wiring.settings, row) for row in page]


@router.delete("/{upload_id}", status_code=204, responses=describes(404, 409))
def delete(upload_id: PathId, caller: SeparatingCaller, wiring: WiringOf) -> None:
    """Delete a song; the stems that were made of it stay until their task is deleted.

    Owners and admins may delete those of people who have left, too: GET /tenant/uploads lists them.
    """
    service.delete(wiring, caller.scope, upload_id, caller.keeper)
