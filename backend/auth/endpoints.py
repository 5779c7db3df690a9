from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.security import OAuth2PasswordRequestForm

from backend.auth import service
from backend.auth.schemas import AccessToken, Login, Registration
from backend.errors import describes
from backend.rate_limit import RateLimits
from backend.sessions import WiringOf
from backend.wiring import Wiring


def _token(wiring: Wiring, email: str, password: str) -> AccessToken:
    access_token = service.login(wiring, email, password)
    return AccessToken(access_token=access_token, expires_in=wiring.settings.auth.token_minutes * 60)


def login(request: Request, body: Login, wiring: WiringOf) -> AccessToken:
    """Exchange e-mail address and password for an access token.

    Send it as `Authorization: Bearer <access_token>` with every other request.
    """
    return _token(wiring, body.email, body.password)


def login_form(
    request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()], wiring: WiringOf
) -> AccessToken:
    """The same as an OAuth2 form, for the Authorize button of this page."""
    return _token(wiring, form.username, form.password)


def register(request: Request, body: Registration, wiring: WiringOf) -> AccessToken:
    """Make an account of your own and log in to it."""
    service.register(wiring, body.email, body.password)
    return _token(wiring, body.email, body.password)


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=["account"])
    refused = describes(401, 422, 429)
    router.post("/login", responses=refused)(limits.login(login))
    router.post("/token", responses=refused)(limits.login(login_form))
    router.post("/register", status_code=201, responses=describes(403, 409, 422, 429))(limits.login(register))
    return router
