from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from backend.auth.caller import LoggedIn, ReadingCaller
from backend.clock import Day, utc_now
from backend.credit import history, service, statement
from backend.credit.schemas import Balance, Entry, Expiring, NewTransfer, entry_view
from backend.errors import describes
from backend.idempotency import service as idempotency
from backend.idempotency.schemas import IdempotencyKey
from backend.paging import one_page
from backend.rate_limit import RateLimits
from backend.sessions import Reading, WiringOf, Writing

EARLIEST, LATEST = date(1970, 1, 1), date(9999, 12, 30)


def credits(caller: ReadingCaller, session: Reading, wiring: WiringOf) -> Balance:
    """Your balance, what is put aside, what expires, and the price list."""
    available, held = service.balance(session, caller.scope)
    price = wiring.settings.credit
    return Balance(
        balance=service.shown(available),
        held=service.shown(held),
        price=service.shown(price.price),
        block_seconds=price.block_seconds,
        expiring=[
            Expiring(credits=service.shown(amount), expires_at=moment)
            for amount, moment in service.expiring(session, caller.scope)
        ],
    )


def entries(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[Entry]:
    """Your ledger, newest first; the next page is in the `Link` header."""
    available = history.available_account(session, caller.scope)
    found = history.entries(session, caller.scope, before=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda row: row.id)
    return [entry_view(row, caller.scope, available) for row in page]


def give(
    request: Request, body: NewTransfer, caller: LoggedIn, session: Writing, idempotency_key: IdempotencyKey = None
) -> Entry:
    """Give credits to a member of your tenant. Those that expire are given first, and expire as before."""
    mark = idempotency.fingerprint("credits/transfers", body.model_dump(mode="json"))
    if idempotency_key is not None and not idempotency.reserve(session, caller.scope, idempotency_key, mark):
        given = idempotency.answer_given(session, caller.scope, idempotency_key, mark)
        return Entry.model_validate(given)
    amount = round(body.credits * 1000)
    entry = service.give(session, caller.scope, caller.actor, body.to_user_id, amount, body.reason)
    answer = entry_view(entry, caller.scope, history.available_account(session, caller.scope))
    if idempotency_key is not None:
        idempotency.keep(session, caller.scope, idempotency_key, answer.model_dump(mode="json"))
    return answer


def statement_of(
    caller: ReadingCaller,
    wiring: WiringOf,
    since: Annotated[Day | None, Query(alias="from", description="First day, UTC; without it, of that month")] = None,
    until: Annotated[Day | None, Query(alias="to", description="Last day, UTC; without it, today")] = None,
) -> StreamingResponse:
    """Your statement of account as CSV, oldest first, with the balance before and after each entry."""
    today = utc_now().date()
    last = min(max(until or today, EARLIEST), LATEST)
    first = min(max(since or last.replace(day=1), EARLIEST), LATEST)
    first, last = sorted((first, last))
    start = datetime.combine(first, time.min, UTC)
    end = datetime.combine(last + timedelta(days=1), time.min, UTC)
    return StreamingResponse(
        statement.lines(wiring.database, caller.scope, start, end),
        media_type="text/csv",
        headers={"Content-Disposition": f'attachment; filename="credits-{first}-{last}.csv"'},
    )


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(prefix="/credits", tags=["credits"], responses=describes(401, 403))
    router.get("")(credits)
    router.get("/entries")(entries)
    router.post("/transfers", status_code=201, responses=describes(402, 404, 422, 429))(limits.transfer(give))
    router.get(
        "/statement",
        name="statement",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}},
    )(statement_of)
    return router
