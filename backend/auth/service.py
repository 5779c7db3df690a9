"""Logging in and registering."""

from __future__ import annotations

from backend.auth import token
from backend.auth.password import LONGEST_PASSWORD, hash_password, verify_password
from backend.auth.token import Claims
from backend.problem import Problem
from backend.user import service as users
from backend.wiring import Wiring


class LoginRefused(Problem):
    """The same for an unknown address and for a wrong password."""

    status = 401
    code = "login_refused"
    detail = "The e-mail address or the password is wrong."
    advice = "Check both; passwords are case-sensitive."
    headers = {"WWW-Authenticate": "Bearer"}


class RegistrationClosed(Problem):
    status = 403
    code = "registration_closed"
    detail = "This service does not take new accounts by itself."
    advice = "Ask the operator for an account."


def login(wiring: Wiring, email: str, password: str) -> str:
    """An access token; raises LoginRefused. No transaction is open while the password is hashed."""
    if len(password) > LONGEST_PASSWORD:  # a form comes here unchecked
        raise LoginRefused
    with wiring.database.read() as session:
        found = users.by_email(session, email)
    if not verify_password(password, found.password_hash if found and found.active else None):
        raise LoginRefused
    assert found is not None
    with wiring.database.read() as session:
        tenant_id = users.home_tenant(session, found.id)
    if tenant_id is None:
        raise LoginRefused
    return token.issue(wiring.settings.auth, Claims(found.id, tenant_id))


def register(wiring: Wiring, email: str, password: str) -> None:
    """A new account with its own tenant and its welcome credits; raises EmailTaken, RegistrationClosed."""
    if not wiring.settings.registration_open:
        raise RegistrationClosed
    hashed = hash_password(password)
    with wiring.database.write() as session:
        users.create(session, email, hashed, granted=wiring.settings.credit.signup_grant)
