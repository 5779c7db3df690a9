"""Who may read a result: somebody with a token, a signed link, or (for events) a ticket.

Links and tickets stand for the login or key that they were made for, and may no more than it.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Security
from fastapi.security import SecurityScopes

from backend.auth import link
from backend.auth.caller import Bearer, Caller, Form, Key, authenticate, who_came
from backend.auth.link import LinkRefused
from backend.identity import PathId
from backend.rate_limit import count_caller
from backend.sessions import WiringOf
from backend.ticket import service as tickets
from backend.ticket.service import TicketRefused


def by_link_or_token(
    request: Request,
    wiring: WiringOf,
    needed: SecurityScopes,
    _form: Form,
    _bearer: Bearer,
    _key: Key,
    owner: Annotated[str | None, Query(description="Of a signed link")] = None,
    expires: Annotated[int | None, Query(description="Of a signed link")] = None,
    signature: Annotated[str | None, Query(description="Of a signed link")] = None,
) -> Caller:
    """Raises LinkRefused, TokenRefused, ScopeMissing."""
    if owner is None or expires is None or signature is None:
        return authenticate(request, wiring, needed)
    way_in = link.check(wiring.settings.auth, request.url.path, owner, expires, signature)
    with wiring.database.read() as session:
        caller = who_came(session, way_in)
    if caller is None or not caller.permissions.issuperset(needed.scopes):
        raise LinkRefused
    count_caller(request, caller.user_id, caller.tenant_id, caller.key_id, caller.tenant.requests)
    return caller


def by_ticket_or_token(
    request: Request,
    task_id: PathId,
    wiring: WiringOf,
    needed: SecurityScopes,
    _form: Form,
    _bearer: Bearer,
    _key: Key,
    ticket: Annotated[str | None, Query(max_length=100, description="From POST /tickets")] = None,
) -> Caller:
    """Raises TicketRefused, TokenRefused, ScopeMissing."""
    if ticket is None:
        return authenticate(request, wiring, needed)
    with wiring.database.write() as session:
        caller = who_came(session, tickets.redeem(session, ticket, task_id))
        if caller is None or not caller.permissions.issuperset(needed.scopes):
            raise TicketRefused
        # Refused: the ticket is not used up.
        count_caller(request, caller.user_id, caller.tenant_id, caller.key_id, caller.tenant.requests)
    return caller


LinkReader = Annotated[Caller, Security(by_link_or_token, scopes=["read"])]
TicketReader = Annotated[Caller, Security(by_ticket_or_token, scopes=["read"])]
