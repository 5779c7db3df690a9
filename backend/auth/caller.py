"""Who is calling, and what they may do: the dependency that every protected route has.

A route says what it needs by the type of its caller. A login may do all that its person may; an API key only what it
was made for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, get_args
from uuid import UUID

from fastapi import Depends, Request, Security
from fastapi.security import (
    APIKeyHeader,
    HTTPAuthorizationCredentials,
    HTTPBearer,
    OAuth2PasswordBearer,
    SecurityScopes,
)
from sqlalchemy.orm import Session

from backend.audit.service import Actor, Witness
from backend.auth import service, token
from backend.auth.token import Claims, TokenRefused
from backend.db import call_witness
from backend.key import service as keys
from backend.key.service import Holder
from backend.logs import note
from backend.models.api_key import Permission
from backend.momentary import Momentary
from backend.problem import Problem
from backend.rate_limit import count_caller
from backend.sessions import WiringOf
from backend.tenant.scope import Scope
from backend.tenant.standing import NOTHING_SPECIAL, Standing, TenantSuspended
from backend.threads import in_thread
from backend.way_in import Kind, WayIn
from backend.wiring import Wiring

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
EVERYTHING = frozenset(get_args(Permission))
SCOPES = {
    "read": "See tasks, songs, results and credits",
    "separate": "Send songs, order, cancel and delete",
    "admin": "Manage the account: keys, webhooks",
}

# For the document and its Authorize button: a log-in form, a token pasted in, or an API key after the word `Key`.
# None of them refuses: `authenticate` does, with a problem body.
form_scheme = OAuth2PasswordBearer(tokenUrl="/api/v1/token", scheme_name="Login", scopes=SCOPES, auto_error=False)
bearer_scheme = HTTPBearer(
    scheme_name="Token", bearerFormat="JWT", description="An access token or an API key", auto_error=False
)
key_scheme = APIKeyHeader(
    name="Authorization", scheme_name="Key", description="`Key` and an API key: `Key vrk_…`", auto_error=False
)


class ScopeMissing(Problem):
    status = 403
    code = "scope_missing"
    advice = "Use an API key that was made with this scope, or log in."

    def __init__(self, needed: str) -> None:
        super().__init__(f"This API key was not made for `{needed}`.")
        self.headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{needed}"'}


class NotWhileImpersonating(Problem):
    status = 403
    code = "not_while_impersonating"
    detail = "An operator who acts as somebody else can't do this in their name."
    advice = "Ask the person to do it."


class LoginNeeded(Problem):
    status = 403
    code = "login_needed"
    detail = "This is for somebody who has logged in; an API key does not do."
    advice = "Log in with POST /api/v1/login and send its access token."


@dataclass(frozen=True, slots=True)
class Caller:
    user_id: UUID
    tenant_id: UUID
    email: str
    role: str
    session_id: UUID | None = None
    """Of somebody who has logged in."""
    key_id: UUID | None = None
    """Of a program that shows an API key."""
    permissions: frozenset[str] = EVERYTHING
    email_verified: bool = False
    operator: bool = False
    impersonator_id: UUID | None = None
    """The operator who acts as this person."""
    in_office: bool = False
    """On a route for operators: what they do there is the service's doing, not a member's."""
    tenant: Standing = NOTHING_SPECIAL
    address: str | None = None
    request_id: str | None = None

    @property
    def scope(self) -> Scope:
        return Scope(self.tenant_id, self.user_id)

    @property
    def reading_scope(self) -> Scope:
        """Whose songs and results this person may open: their own, and where the tenant shares them, all of it."""
        shared = self.tenant.shares_audio and self.role in ("owner", "admin")
        return Scope(self.tenant_id, None) if shared else self.scope

    @property
    def keeper(self) -> Actor | None:
        """An owner or admin, who may delete what people left behind who are gone."""
        return self.actor if self.role in ("owner", "admin") else None

    @property
    def actor(self) -> Actor:
        """For the audit log."""
        return Actor(
            "operator" if self.in_office or self.impersonator_id else "user",
            user_id=self.impersonator_id or self.user_id,
            acting_as=self.user_id if self.impersonator_id else None,
            key_id=self.key_id,
            address=self.address,
            request_id=self.request_id,
        )

    @property
    def way_in(self) -> WayIn:
        if self.session_id is not None:
            return WayIn(self.tenant_id, self.user_id, Kind.LOGIN, self.session_id)
        assert self.key_id is not None
        return WayIn(self.tenant_id, self.user_id, Kind.KEY, self.key_id)


def authenticate(request: Request, wiring: Wiring, needed: SecurityScopes, *, suspended_too: bool = False) -> Caller:
    """Raises TokenRefused, TooManyRequests, TenantSuspended, ScopeMissing."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    shown = shown.strip()
    if scheme.lower() not in ("bearer", "key"):
        raise TokenRefused
    if shown.startswith(keys.MARK):
        caller = _with_key(wiring, shown)
    elif scheme.lower() == "bearer":
        caller = _known(request, shown) or _logins(request).ask(shown, lambda: _with_token(wiring, shown))
    else:
        raise TokenRefused
    return _admit(request, caller, needed, suspended_too)


def _admit(request: Request, caller: Caller, needed: SecurityScopes, suspended_too: bool) -> Caller:
    caller = replace(
        caller,
        address=request.client.host if request.client else None,
        request_id=request.scope.get("request_id"),
    )
    request.state.caller = caller  # submissions are counted by user
    note(tenant=str(caller.tenant_id), user=str(caller.user_id))
    count_caller(request, caller.user_id, caller.tenant_id, caller.key_id, caller.tenant.requests)
    if caller.tenant.suspended and not suspended_too:
        raise TenantSuspended
    # A route that names nothing is closed to keys, not open.
    for scope in needed.scopes or sorted(EVERYTHING):
        if scope not in caller.permissions:
            raise ScopeMissing(scope)
    return caller


def who_came(session: Session, way: WayIn) -> Caller | None:
    """Who was let in this way before, if they would be now: behind a link or a ticket."""
    if way.kind is Kind.LOGIN:
        caller = _of_login(session, Claims(way.user_id, way.tenant_id, way.id))
    else:
        holder = keys.holder_of(session, way.id)
        caller = None if holder is None else _of_key(holder)
    return None if caller is None or caller.tenant.suspended else caller


def _logins(request: Request) -> Momentary[Caller]:
    found: Momentary[Caller] = request.app.state.logins
    return found


def _known(request: Request, shown: str) -> Caller | None:
    """Whose access token this was a moment ago. For reading alone: who changes something is always looked up."""
    return _logins(request).get(shown) if request.method in SAFE_METHODS else None


def _with_token(wiring: Wiring, shown: str) -> Caller:
    claims = token.read(wiring.settings.auth, shown)
    with wiring.database.read() as session:
        caller = _of_login(session, claims)
    if caller is None:
        raise TokenRefused
    return caller


def _of_login(session: Session, claims: Claims) -> Caller | None:
    present = service.present(session, claims)
    if present is None:
        return None
    return Caller(
        claims.user_id,
        claims.tenant_id,
        present.email,
        present.role,
        session_id=claims.session_id,
        email_verified=present.email_verified,
        operator=present.operator,
        impersonator_id=present.impersonator_id,
        tenant=present.tenant,
    )


def _with_key(wiring: Wiring, shown: str) -> Caller:
    holder = keys.holder(wiring.database, shown)
    if holder is None:
        raise TokenRefused
    return _of_key(holder)


def _of_key(holder: Holder) -> Caller:
    key = holder.key
    permissions = frozenset(key.scopes.split())
    return Caller(
        key.user_id,
        key.tenant_id,
        holder.email,
        holder.role,
        key_id=key.id,
        permissions=permissions,
        email_verified=holder.email_verified,
        operator=holder.operator,
        tenant=holder.tenant,
    )


Form = Annotated[str | None, Depends(form_scheme)]
Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]
Key = Annotated[str | None, Depends(key_scheme)]


async def current_caller(
    request: Request, wiring: WiringOf, needed: SecurityScopes, _form: Form, _bearer: Bearer, _key: Key
) -> Caller:
    return await let_in(request, wiring, needed)


async def let_in(request: Request, wiring: Wiring, needed: SecurityScopes, *, suspended_too: bool = False) -> Caller:
    """As `authenticate`; and what an operator does who acts as somebody else is seen."""
    scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
    in_memory = wiring.settings.limit.storage == "memory://" and scheme.lower() == "bearer"
    known = _known(request, shown.strip()) if in_memory else None
    if known is not None:
        caller = _admit(request, known, needed, suspended_too)  # nothing in it waits
    else:
        caller = await in_thread(authenticate, request, wiring, needed, suspended_too=suspended_too)
    if caller.impersonator_id is not None and request.method not in SAFE_METHODS:
        # Here and not in the thread: what is called in a context of its own, the endpoint does not see.
        target = next(iter(request.path_params.values()), None)
        route = request.scope["route"].path
        call_witness(Witness(caller.actor, caller.tenant_id, request.method, route, target and str(target)[:100]))
    return caller


ReadingCaller = Annotated[Caller, Security(current_caller, scopes=["read"])]
SeparatingCaller = Annotated[Caller, Security(current_caller, scopes=["separate"])]
AdminCaller = Annotated[Caller, Security(current_caller, scopes=["admin"])]


async def with_login(caller: AdminCaller) -> Caller:
    """Raises LoginNeeded."""
    if caller.session_id is None:
        raise LoginNeeded
    return caller


async def in_person(caller: AdminCaller) -> Caller:
    """Raises NotWhileImpersonating."""
    if caller.impersonator_id is not None:
        raise NotWhileImpersonating
    return caller


async def logged_in(caller: Annotated[Caller, Depends(with_login)]) -> Caller:
    """Raises LoginNeeded, NotWhileImpersonating."""
    return await in_person(caller)


InPerson = Annotated[Caller, Depends(in_person)]
"""Also with a key."""
LoggedIn = Annotated[Caller, Depends(logged_in)]
CurrentCaller = AdminCaller
"""A route that says nothing more is for logins and for keys that may do everything about the account."""
