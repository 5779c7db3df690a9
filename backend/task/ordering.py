"""From a request's body to songs and a wish: the dependencies of the submitting routes.

They run before the rate limit counts: an order for a song that isn't there, and one that was answered
before under its Idempotency-Key, use nothing of the caller's allowance.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from backend.auth.caller import SeparatingCaller
from backend.idempotency.service import fingerprint
from backend.models import Upload
from backend.sessions import WiringOf
from backend.task import service
from backend.task.order import Order
from backend.task.schemas import Batch, Separation, Wish
from backend.task.turns import Turns
from backend.tenant.scope import Scope
from backend.upload import service as uploads
from backend.webhook.service import check_task_url
from backend.wiring import Wiring

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Repeat a request safely: the same key gives the same answer"),
]


@dataclass(frozen=True, slots=True)
class Ordering:
    scope: Scope
    songs: Sequence[Upload]
    order: Order
    key: str | None
    fingerprint: str
    answer: dict[str, Any] | None
    """Given before under the same key."""

    def submit(self, wiring: Wiring) -> dict[str, Any]:
        """Raises CreditsExhausted, ModelUnknown, StemsUnknown, PartOutsideSong, KeyReused."""
        if self.answer is not None:
            return self.answer
        return service.submit(wiring, self.scope, self.songs, self.order, self.key, self.fingerprint)


async def _turn(
    request: Request, caller: SeparatingCaller, idempotency_key: IdempotencyKey = None
) -> AsyncIterator[str | None]:
    """The key, when it is this request's turn to use it; until the endpoint has answered."""
    turns: Turns = request.app.state.turns
    async with turns.turn(caller.user_id, idempotency_key):
        yield idempotency_key


KeyInTurn = Annotated[str | None, Depends(_turn, scope="function")]


def one_song(
    request: Request, body: Separation, caller: SeparatingCaller, wiring: WiringOf, key: KeyInTurn
) -> Ordering:
    """Raises UploadNotFound, FilenameInvalid, ModelUnknown, StemsUnknown, PartOutsideSong, KeyReused,
    TaskWebhookRefused."""

    def find() -> list[Upload]:
        if body.upload_id is None:
            return [uploads.find_named(wiring, caller.scope, body.filename or "")]
        with wiring.database.read() as session:
            return [uploads.get(session, caller.scope, body.upload_id)]

    return _ordering(request, "separate", body, caller.scope, wiring, key, find)


def many_songs(request: Request, body: Batch, caller: SeparatingCaller, wiring: WiringOf, key: KeyInTurn) -> Ordering:
    """Raises UploadNotFound, ModelUnknown, StemsUnknown, PartOutsideSong, KeyReused, TaskWebhookRefused."""

    def find() -> list[Upload]:
        with wiring.database.read() as session:
            return [uploads.get(session, caller.scope, upload_id) for upload_id in body.upload_ids]

    return _ordering(request, "tasks", body, caller.scope, wiring, key, find)


def _ordering(
    request: Request,
    route: str,
    body: Wish,
    scope: Scope,
    wiring: Wiring,
    key: str | None,
    find: Callable[[], list[Upload]],
) -> Ordering:
    # Without what is left to the defaults: a field that a later version adds changes no earlier request's mark.
    mark = fingerprint(route, body.model_dump(mode="json", exclude_defaults=True))
    # Before the songs are looked for: an answer never changes, also when its song has been deleted since.
    answer = service.answered_before(wiring, scope, key, mark)
    request.state.answered_before = answer is not None
    order = body.order()
    if order.webhook is not None and answer is None:
        check_task_url(wiring.settings.webhook, order.webhook)
    spec = wiring.models.choose(order.model, order.stems)  # what can't be is found out before it counts, too
    songs = find() if answer is None else []
    for song in songs:
        order.options(spec, song.filename, song.seconds)
    return Ordering(scope, songs, order, key, mark, answer)


OneSong = Annotated[Ordering, Depends(one_song)]
ManySongs = Annotated[Ordering, Depends(many_songs)]
