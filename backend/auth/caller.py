"""Who is calling: the dependency that every protected route has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, OAuth2PasswordBearer

from backend.auth import token
from backend.auth.token import TokenRefused
from backend.sessions import WiringOf
from backend.tenant.scope import Scope
from backend.user import service as users
from backend.wiring import Wiring

# Two schemes for the docs page's Authorize button: a log-in form, or a token pasted in.
form_scheme = OAuth2PasswordBearer(tokenUrl="/api/v1/token", scheme_name="Login", auto_error=False)
bearer_scheme = HTTPBearer(scheme_name="Token", bearerFormat="JWT", auto_error=False)


@dataclass(frozen=True, slots=True)
class Caller:
    user_id: UUID
    tenant_id: UUID
    email: str
    role: str

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.user_id)


def authenticate(request: Request, wiring: Wiring, bearer: HTTPAuthorizationCredentials | None) -> Caller:
    """Raises TokenRefused without a valid token of an active user."""
    if bearer is None:
        raise TokenRefused
    claims = token.read(wiring.settings.auth, bearer.credentials)
    with wiring.database.read() as session:
        member = users.member(session, claims.user_id, claims.tenant_id)
    if member is None:
        raise TokenRefused
    caller = Caller(claims.user_id, claims.tenant_id, member.email, member.role)
    request.state.caller = caller  # the rate limits count by user
    return caller


def current_caller(
    request: Request,
    wiring: WiringOf,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)],
    _form: Annotated[str | None, Depends(form_scheme)],
) -> Caller:
    return authenticate(request, wiring, bearer)


CurrentCaller = Annotated[Caller, Depends(current_caller)]
