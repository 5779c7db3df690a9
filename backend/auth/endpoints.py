from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import OAuth2PasswordRequestForm

from backend.audit.service import Actor
from backend.auth import service
from backend.auth.oneself import Oneself, OwnLogin
from backend.auth.schemas import AccessToken, Login, LoginView, LogoutEverywhere, Refresh, Registration
from backend.auth.service import Tokens
from backend.errors import describes
from backend.identity import PathId
from backend.paging import one_page
from backend.rate_limit import RateLimits
from backend.sessions import Reading, WiringOf, Writing
from backend.wiring import Wiring


def address_of(request: Request) -> str:
    """The client's; a proxy's word for it is taken by the server, from proxies that are configured only."""
    return request.client.host if request.client else ""


def newcomer(request: Request) -> Actor:
    """For the audit log: somebody who is not logged in. Who it is turns out later."""
    return Actor("user", address=address_of(request), request_id=request.scope.get("request_id"))


def view(wiring: Wiring, tokens: Tokens) -> AccessToken:
    seconds = wiring.settings.auth.token_minutes * 60
    return AccessToken(access_token=tokens.access, expires_in=seconds, refresh_token=tokens.refresh)


def _logged_in(request: Request, wiring: Wiring, email: str, password: str) -> AccessToken:
    request_id = request.scope.get("request_id")
    return view(wiring, service.login(wiring, email, password, address_of(request), request_id))


def login(request: Request, body: Login, wiring: WiringOf) -> AccessToken:
    """Exchange e-mail address and password for an access token.

    Send it as `Authorization: Bearer <access_token>` with every other request. Before it expires, exchange the
    refresh token for new ones with POST /refresh.
    """
    return _logged_in(request, wiring, body.email, body.password)


def login_form(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], wiring: WiringOf
) -> AccessToken:
    """The same as an OAuth2 form, for the Authorize button of this page."""
    return _logged_in(request, wiring, form.username, form.password)


def register(request: Request, body: Registration, wiring: WiringOf) -> AccessToken:
    """Make an account and log in to it. Some services want the code of an invitation.

    With a tenant's invitation you come into that tenant, also where registering is closed; credits are then its
    owner's to give.
    """
    return view(wiring, service.register(wiring, body.email, body.password, body.invitation, newcomer(request)))


def refresh(request: Request, body: Refresh, wiring: WiringOf) -> AccessToken:
    """Exchange a refresh token for a new access token and the next refresh token.

    Each is good once. One that is shown again later was stolen from one of the two who have it: its login ends.
    (Sent again within 10 seconds it gives the same next token, for answers that got lost.)
    """
    return view(wiring, service.renew(wiring, body.refresh_token, newcomer(request)))


def logout(caller: OwnLogin, session: Writing) -> None:
    """End this login: its access token and its refresh token are refused from now on."""
    assert caller.session_id is not None
    service.logout(session, caller.actor, caller.scope, caller.session_id)


def switch(tenant_id: PathId, caller: Oneself, session: Writing, wiring: WiringOf) -> AccessToken:
    """Go on with this login in another tenant of yours. The answer has its new tokens; the old ones end.

    So do signed links that were made with it. To be in two tenants at once, log in twice.
    """
    assert caller.session_id is not None
    return view(wiring, service.switch(wiring, session, caller.actor, caller.scope, caller.session_id, tenant_id))


def logins(
    request: Request,
    response: Response,
    caller: Oneself,
    session: Reading,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[LoginView]:
    """Your logins that have not ended, in all your tenants, newest first; the next page is in the `Link` header."""
    found = service.logins(session, caller.user_id, before=cursor, limit=limit + 1)
    return [
        LoginView(
            id=row.id,
            tenant_id=row.tenant_id,
            created_at=row.created_at,
            refreshed_at=row.rotated_at,
            expires_at=row.expires_at,
            current=row.id == caller.session_id,
            impersonated=row.impersonator_id is not None,
        )
        for row in one_page(request, response, found, limit, lambda row: row.id)
    ]


def end_login(session_id: PathId, caller: Oneself, session: Writing) -> None:
    """End one of your logins, with its links and streams: what you don't know, or left open somewhere."""
    service.end_login(session, caller.actor, caller.scope, session_id)


def logout_everywhere(caller: Oneself, session: Writing, body: LogoutEverywhere | None = None) -> None:
    """End every login of yours, this one too."""
    keys = body is not None and body.keys
    service.end_logins(session, caller.actor, caller.tenant_id, caller.user_id, also_keys=keys)


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=["account"])
    refused = describes(401, 422, 429, 503)
    router.post("/login", responses=refused)(limits.login(login))
    router.post("/token", responses=refused)(limits.login(login_form))
    router.post("/register", status_code=201, responses=describes(403, 409, 422, 429, 503))(limits.login(register))
    router.post("/refresh", responses=describes(401, 422))(refresh)
    router.post("/tenants/{tenant_id}/switch", tags=["tenant"], responses=describes(401, 403, 404))(switch)
    router.get("/sessions", responses=describes(401, 403, 422))(logins)
    router.delete("/sessions/{session_id}", status_code=204, responses=describes(401, 403, 404))(end_login)
    router.post("/logout", status_code=204, responses=describes(401, 403))(logout)
    router.post("/logout/everywhere", status_code=204, responses=describes(401, 403, 422))(logout_everywhere)
    return router
