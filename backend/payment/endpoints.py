from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from backend.auth.caller import AdminCaller, ReadingCaller
from backend.errors import describes
from backend.idempotency import service as idempotency
from backend.idempotency.schemas import IdempotencyKey
from backend.identity import PathId
from backend.paging import one_page
from backend.payment import service
from backend.payment.provider import KINDS
from backend.payment.schemas import NewPurchase, PackView, PurchaseView, purchase_view
from backend.sessions import Reading, WiringOf, Writing

purchases = APIRouter(prefix="/purchases", tags=["credits"], responses=describes(401, 403))
payments = APIRouter(prefix="/payments", tags=["payments"])


@purchases.get("/packs")
def packs(caller: ReadingCaller, wiring: WiringOf) -> list[PackView]:
    """What is for sale."""
    return [
        PackView(name=name, credits=pack.credits, price_minor=pack.price_minor, currency=pack.currency)
        for name, pack in service.packs(wiring.settings).items()
    ]


@purchases.post("", status_code=201, responses=describes(404, 422))
def buy(
    body: NewPurchase,
    caller: AdminCaller,
    session: Writing,
    wiring: WiringOf,
    idempotency_key: IdempotencyKey = None,
) -> PurchaseView:
    """Order a pack of credits. Send the buyer to `checkout_url`; the credits are there as soon as it is paid."""
    mark = idempotency.fingerprint("purchases", body.model_dump(mode="json"))
    if idempotency_key is not None and not idempotency.reserve(session, caller.scope, idempotency_key, mark):
        return PurchaseView.model_validate(idempotency.answer_given(session, caller.scope, idempotency_key, mark))
    purchase = service.order(session, wiring.settings, caller.scope, caller.actor, body.pack)
    answer = purchase_view(wiring.settings, purchase)
    if idempotency_key is not None:
        idempotency.keep(session, caller.scope, idempotency_key, answer.model_dump(mode="json"))
    return answer


@purchases.get("")
def listed(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    wiring: WiringOf,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[PurchaseView]:
    """Your purchases, newest first; the next page is in the `Link` header."""
    found = service.listed(session, caller.scope, before=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda row: row.id)
    return [purchase_view(wiring.settings, row) for row in page]


@purchases.get("/{purchase_id}", responses=describes(404))
def one(purchase_id: PathId, caller: ReadingCaller, session: Reading, wiring: WiringOf) -> PurchaseView:
    """Where a purchase stands."""
    return purchase_view(wiring.settings, service.get(session, caller.scope, purchase_id))


async def _body(request: Request) -> bytes:
    return await request.body()


MESSAGE = {
    "type": "object",
    "required": ["type", "data"],
    "properties": {
        "type": {"type": "string", "examples": list(KINDS)},
        "data": {
            "type": "object",
            "required": ["purchase_id", "amount_minor", "currency"],
            "properties": {
                "purchase_id": {"type": "string", "format": "uuid"},
                "amount_minor": {"type": "integer", "minimum": 0},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
            },
        },
    },
}


@payments.post(
    "/{provider}",
    status_code=204,
    responses=describes(404, 413, 422),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": MESSAGE}}}},
)
def said(provider: str, request: Request, body: Annotated[bytes, Depends(_body)], wiring: WiringOf) -> None:
    """For the payment provider, or a bridge to one: a purchase was paid, failed, or was paid back.

    Signed as Standard Webhooks are (`webhook-id`, `webhook-timestamp`, `webhook-signature`), with the secret in
    `VR_PAYMENT__SECRET`. The same message again changes nothing.
    """
    service.receive(wiring, provider, request.headers, body)
