"""Who may read a result: somebody with a token, a signed link, or (for events) a ticket."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Query, Request, Security
from fastapi.security import SecurityScopes

from backend.auth import link
from backend.auth.caller import Bearer, Form, Key, authenticate
from backend.auth.link import LinkRefused
from backend.identity import PathId
from backend.rate_limit import count_caller
from backend.sessions import WiringOf
from backend.tenant.scope import Scope
from backend.ticket import service as tickets
from backend.user import service as users


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
) -> Scope:
    """Raises LinkRefused, TokenRefused, ScopeMissing."""
    if owner is None or expires is None or signature is None:
        return authenticate(request, wiring, needed).scope
    link.check(wiring.settings.auth, request.url.path, owner, expires, signature)
    tenant_id, _, user_id = owner.partition(".")
    scope = Scope(UUID(tenant_id), UUID(user_id))
    with wiring.database.read() as session:
        if users.member(session, UUID(user_id), scope.tenant_id) is None:
            raise LinkRefused
    count_caller(request, UUID(user_id), scope.tenant_id)
    return scope


def by_ticket_or_token(
    request: Request,
    task_id: PathId,
    wiring: WiringOf,
    needed: SecurityScopes,
    _form: Form,
    _bearer: Bearer,
    _key: Key,
    ticket: Annotated[str | None, Query(max_length=100, description="From POST /tickets")] = None,
) -> Scope:
    """Raises TicketRefused, TokenRefused, ScopeMissing."""
    if ticket is None:
        return authenticate(request, wiring, needed).scope
    with wiring.database.write() as session:
        scope = tickets.redeem(session, ticket, task_id)
        assert scope.user_id is not None
        count_caller(request, scope.user_id, scope.tenant_id)  # refused: the ticket is not used up
        return scope


LinkReader = Annotated[Scope, Security(by_link_or_token, scopes=["read"])]
TicketReader = Annotated[Scope, Security(by_ticket_or_token, scopes=["read"])]
