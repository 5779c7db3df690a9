from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from backend.auth.caller import ReadingCaller
from backend.credit import service
from backend.credit.schemas import Balance, Entry
from backend.errors import describes
from backend.paging import one_page
from backend.sessions import Reading, WiringOf

router = APIRouter(tags=["credits"], responses=describes(401, 403))


@router.get("/credits")
def credits(caller: ReadingCaller, session: Reading, wiring: WiringOf) -> Balance:
    """Your balance, what is put aside, and the price list."""
    available, held = service.balance(session, caller.scope)
    price = wiring.settings.credit
    return Balance(
        balance=service.shown(available),
        held=service.shown(held),
        price=service.shown(price.price),
        block_seconds=price.block_seconds,
    )


@router.get("/credits/entries")
def entries(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[Entry]:
    """Your ledger, newest first; the next page is in the `Link` header."""
    found = service.entries(session, caller.scope, before=cursor, limit=limit + 1)
    return [
        Entry(
            id=row.id,
            kind=row.kind,
            credits=service.shown(row.amount),
            task_id=row.task_id,
            reason=row.reason,
            created_at=row.created_at,
        )
        for row in one_page(request, response, found, limit, lambda row: row.id)
    ]
