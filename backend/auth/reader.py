"""Who may read a result: somebody with a token, a signed link, or (for events) a ticket."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials

from backend.auth import link
from backend.auth.caller import authenticate, bearer_scheme, form_scheme
from backend.auth.link import LinkRefused
from backend.identity import PathId
from backend.sessions import WiringOf
from backend.tenant.scope import Scope
from backend.ticket import service as tickets
from backend.user import service as users

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
Form = Annotated[str | None, Depends(form_scheme)]


def by_link_or_token(
    request: Request,
    wiring: WiringOf,
    bearer: Bearer,
    _form: Form,
    owner: Annotated[str | None, Query(description="Of a signed link")] = None,
    expires: Annotated[int | None, Query(description="Of a signed link")] = None,
    signature: Annotated[str | None, Query(description="Of a signed link")] = None,
) -> Scope:
    """Raises LinkRefused, TokenRefused."""
    if owner is None or expires is None or signature is None:
        return authenticate(request, wiring, bearer).scope
    link.check(wiring.settings.auth, request.url.path, owner, expires, signature)
    tenant_id, _, user_id = owner.partition(".")
    scope = Scope(UUID(tenant_id), UUID(user_id))
    with wiring.database.read() as session:
        if users.member(session, UUID(user_id), scope.tenant_id) is None:
            raise LinkRefused
    return scope


def by_ticket_or_token(
    request: Request,
    task_id: PathId,
    wiring: WiringOf,
    bearer: Bearer,
    _form: Form,
    ticket: Annotated[str | None, Query(max_length=100, description="From POST /tickets")] = None,
) -> Scope:
    """Raises TicketRefused, TokenRefused."""
    if ticket is None:
        return authenticate(request, wiring, bearer).scope
    with wiring.database.write() as session:
        return tickets.redeem(session, ticket, task_id)


LinkReader = Annotated[Scope, Depends(by_link_or_token)]
TicketReader = Annotated[Scope, Depends(by_ticket_or_token)]
