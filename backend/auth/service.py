"""Logging in, staying logged in, logging out; and registering."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from backend.auth import letters, lockout, refresh, repository, token
from backend.auth.password import LONGEST_PASSWORD, hash_password, verify_password
from backend.auth.repository import Present
from backend.auth.token import Claims
from backend.key import service as keys
from backend.problem import Problem
from backend.tenant.scope import Scope
from backend.user import service as users
from backend.wiring import Wiring

log = logging.getLogger(__name__)

GRACE_SECONDS = 10.0
"""For who sends a refresh token twice, because the answer was lost or two tabs woke up together."""
KEPT_SECONDS = 7 * 86_400.0


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


class RefreshRefused(Problem):
    status = 401
    code = "refresh_refused"
    detail = "The refresh token is wrong, used before, expired, or its login has ended."
    advice = "Log in again with POST /api/v1/login."
    headers = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Tokens:
    access: str
    refresh: str


def login(wiring: Wiring, email: str, password: str, address: str) -> Tokens:
    """Raises LoginRefused, TooManyFailures, TooManyLogins. No transaction is open while the password is hashed."""
    if len(password) > LONGEST_PASSWORD:  # a form comes here unchecked
        raise LoginRefused
    auth = wiring.settings.auth
    counters = lockout.password_counters(auth, email, address)
    with wiring.database.write() as session:
        lockout.count_try(session, auth, counters)
        found = users.by_email(session, email)
    try:
        right = verify_password(password, found.password_hash if found and found.active else None)
    except Problem:
        with wiring.database.write() as session:
            lockout.take_back(session, counters)
        raise
    if not right or found is None:
        raise LoginRefused
    with wiring.database.write() as session:
        tenant_id = users.home_tenant(session, found.id)
        if tenant_id is None:
            raise LoginRefused
        lockout.forgive(session, counters)
        return start(wiring, session, Scope(tenant_id, found.id))


def start(wiring: Wiring, session: Session, scope: Scope) -> Tokens:
    """A new login of somebody who has proven who they are."""
    session_id = repository.open_session(session, scope, wiring.settings.auth.refresh_days * 86_400.0)
    return _tokens(wiring, scope, session_id, 1)


def renew(wiring: Wiring, shown: str) -> Tokens:
    """New tokens for a refresh token, which is spent; raises RefreshRefused.

    One that was spent before ends its login: two hold it, and one of them is a thief. Except for a moment after it
    was spent, when it gives the very token that it gave before. No second line of tokens comes of that: whoever
    took it holds the same next token as the owner, and shows it second sooner or later.
    """
    auth = wiring.settings.auth
    read = refresh.read(auth, shown)
    if read is None:
        raise RefreshRefused
    session_id, generation = read
    with wiring.database.write() as session:
        row = repository.rotate(session, session_id, generation, auth.refresh_days * 86_400.0)
        row = row or repository.rotated_lately(session, session_id, generation, GRACE_SECONDS)
        if row is None and repository.revoke_used_again(session, session_id, generation):
            log.warning("login %s ended: a refresh token of it was used twice", session_id)
        if row is not None and not repository.present(session, row.user_id, row.tenant_id, row.id):
            row = None
    if row is None:
        raise RefreshRefused
    return _tokens(wiring, Scope(row.tenant_id, row.user_id), row.id, generation + 1)


def logout(session: Session, scope: Scope, session_id: UUID) -> None:
    repository.revoke(session, scope, session_id)


def logout_everywhere(session: Session, user_id: UUID, *, also_keys: bool) -> None:
    """Every login of a person ends, and every API key if wanted."""
    repository.revoke_all(session, user_id)
    if also_keys:
        keys.revoke_all(session, user_id)


def present(session: Session, claims: Claims) -> Present | None:
    """Whether the login behind a token is still good, and whose it is."""
    return repository.present(session, claims.user_id, claims.tenant_id, claims.session_id)


def register(wiring: Wiring, email: str, password: str, invitation: str | None) -> Tokens:
    """A new account with its own tenant, logged in. Raises EmailTaken, RegistrationClosed, InvitationRefused."""
    settings = wiring.settings
    if not settings.registration_open:
        raise RegistrationClosed
    hashed = hash_password(password)
    grant = settings.credit.signup_grant
    waits = settings.auth.verified_email
    with wiring.database.write() as session:
        user = users.create(
            session,
            email,
            hashed,
            granted=0 if waits else grant,
            due=grant if waits else 0,
            invitation=(invitation or "") if settings.auth.invitation_only else None,
        )
        tenant_id = users.home_tenant(session, user.id)
        assert tenant_id is not None
        tokens = start(wiring, session, Scope(tenant_id, user.id))
    if wiring.mail.sends:
        wiring.mail.send(letters.verification(settings, user))
    return tokens


def forget_old(session: Session, wiring: Wiring) -> None:
    repository.forget_expired(session, KEPT_SECONDS)
    lockout.forget_old(session, wiring.settings.auth)


def _tokens(wiring: Wiring, scope: Scope, session_id: UUID, generation: int) -> Tokens:
    auth = wiring.settings.auth
    assert scope.user_id is not None
    return Tokens(
        token.issue(auth, Claims(scope.user_id, scope.tenant_id, session_id)),
        refresh.issue(auth, session_id, generation),
    )
