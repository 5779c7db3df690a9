from __future__ import annotations

from fastapi import APIRouter, Request

from backend.auth import recovery
from backend.auth.caller import LoggedIn
from backend.auth.endpoints import newcomer, view
from backend.auth.oneself import Oneself
from backend.auth.schemas import AccessToken, ForgottenPassword, MailToken, PasswordChange, PasswordReset
from backend.errors import describes
from backend.rate_limit import RateLimits
from backend.sessions import WiringOf


def change_password(request: Request, body: PasswordChange, caller: Oneself, wiring: WiringOf) -> AccessToken:
    """Change your password. Every login of yours ends; the answer has the tokens of a new one."""
    tokens = recovery.change_password(
        wiring,
        caller.scope,
        caller.email,
        body.current_password,
        body.new_password,
        caller.actor,
        also_keys=body.keys,
    )
    return view(wiring, tokens)


def forgotten_password(request: Request, body: ForgottenPassword, wiring: WiringOf) -> None:
    """Have a letter sent with which a new password can be set. The answer is the same for an unknown address."""
    recovery.ask_reset(wiring, body.email)


def reset_password(request: Request, body: PasswordReset, wiring: WiringOf) -> None:
    """Set a new password with the token from the letter. Every login of yours ends.

    So does every API key if your address was not proven before: somebody else may have made them.
    """
    recovery.reset_password(wiring, body.token, body.new_password, newcomer(request), also_keys=body.keys)


def ask_verification(request: Request, caller: LoggedIn, wiring: WiringOf) -> None:
    """Have the letter sent again that proves your e-mail address."""
    recovery.ask_verification(wiring, caller.email)


def verify_email(request: Request, body: MailToken, wiring: WiringOf) -> None:
    """Prove your e-mail address with the token from the letter."""
    recovery.verify_email(wiring, body.token, newcomer(request))


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=["account"])
    router.post("/password", responses=describes(401, 403, 422, 429, 503))(limits.login(change_password))
    router.post("/password/forgotten", status_code=202, responses=describes(422, 429, 503))(
        limits.login(forgotten_password)
    )
    router.post("/password/reset", status_code=204, responses=describes(400, 422, 429, 503))(
        limits.login(reset_password)
    )
    router.post("/email/verification", status_code=202, responses=describes(401, 403, 429, 503))(
        limits.login(ask_verification)
    )
    router.post("/email/verify", status_code=204, responses=describes(400, 422, 429))(limits.login(verify_email))
    return router
