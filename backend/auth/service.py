"""Logging in, staying logged in, logging out; and registering."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import SERVICE, Actor
from backend.auth import letters, lockout, refresh, repository, token
from backend.auth.password import LONGEST_PASSWORD, hash_password, refuse_when_full, verify_password
from backend.auth.repository import Present
from backend.auth.token import Claims, TokenRefused
from backend.invitation import service as invitations
from backend.key import service as keys
from backend.models import LoginSession
from backend.problem import Problem
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.user import joining
from backend.user import service as users
from backend.way_in import Kind, WayIn
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


class TenantUnknown(Problem):
    status = 404
    code = "tenant_not_found"
    detail = "There is no such tenant of yours that can be entered."
    advice = "GET /api/v1/tenants lists yours."


class LoginUnknown(Problem):
    status = 404
    code = "login_not_found"
    detail = "There is no such login of yours, or it has ended."
    advice = "GET /api/v1/sessions lists yours."


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


def login(wiring: Wiring, email: str, password: str, address: str, request_id: str | None = None) -> Tokens:
    """Raises LoginRefused, TooManyFailures, TooManyLogins. No transaction is open while the password is hashed."""
    if len(password) > LONGEST_PASSWORD:  # a form comes here unchecked
        raise LoginRefused
    refuse_when_full()
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
        # Before the counters, as who changes a password locks them. One that was changed meanwhile ended all logins.
        users.lock(session, found.id)
        known = users.by_id(session, found.id)
        if known is None or not known.active or known.password_hash != found.password_hash:
            raise LoginRefused
        lockout.forgive(session, counters)
        scope = Scope(users.enter(session, found), found.id)
        actor = Actor("user", user_id=found.id, address=address, request_id=request_id)
        audit.record(session, actor, "login.started", tenant_id=scope.tenant_id, target=found.id)
        return start(wiring, session, scope)


def start(wiring: Wiring, session: Session, scope: Scope) -> Tokens:
    """A new login of somebody who has proven who they are."""
    auth = wiring.settings.auth
    session_id = repository.open_session(session, scope, min(auth.refresh_days, auth.login_days) * 86_400.0)
    return _tokens(wiring, scope, session_id, 1)


def renew(wiring: Wiring, shown: str, shower: Actor = SERVICE) -> Tokens:
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
        longest = timedelta(days=auth.login_days)
        row = repository.rotate(session, session_id, generation, auth.refresh_days * 86_400.0, longest)
        row = row or repository.rotated_lately(session, session_id, generation, GRACE_SECONDS)
        if row is None and (stolen := repository.revoke_used_again(session, session_id, generation)):
            log.warning("login %s ended: a refresh token of it was used twice", session_id)
            audit.record(
                session,
                replace(shower, kind="service"),
                "login.refresh_token_reused",
                tenant_id=stolen.tenant_id,
                target=stolen.user_id,
                after={"session_id": str(session_id)},
            )
        if row is not None and not repository.present(session, row.user_id, row.tenant_id, row.id):
            row = None
    if row is None:
        raise RefreshRefused
    return _tokens(wiring, Scope(row.tenant_id, row.user_id), row.id, generation + 1)


def switch(wiring: Wiring, session: Session, actor: Actor, scope: Scope, session_id: UUID, tenant_id: UUID) -> Tokens:
    """This login goes on in another tenant of its person; its present tokens end. Raises TenantUnknown, TokenRefused.

    It stays one login, no older and no younger: whoever stole its token gains neither time nor a second one.
    """
    assert scope.user_id is not None
    place = tenants.place(session, tenant_id, scope.user_id)
    if place is None or place.suspended:
        raise TenantUnknown
    generation = repository.move(session, scope, session_id, tenant_id)
    if generation is None:
        raise TokenRefused
    before = {"tenant_id": str(scope.tenant_id)}
    audit.record(session, actor, "login.switched", tenant_id=tenant_id, target=session_id, before=before)
    return _tokens(wiring, Scope(tenant_id, scope.user_id), session_id, generation)


def end_membership(session: Session, scope: Scope) -> None:
    """Every login and API key of a person in one tenant, and with them links and tickets."""
    repository.revoke_all_in(session, scope)
    keys.revoke_all_in(session, scope)


def logout(session: Session, actor: Actor, scope: Scope, session_id: UUID) -> None:
    repository.revoke(session, scope, session_id)
    action = "login.ended" if actor.acting_as is None else "impersonation.ended"
    audit.record(session, actor, action, tenant_id=scope.tenant_id, target=session_id)


def logins(session: Session, user_id: UUID, *, before: UUID | None, limit: int) -> list[LoginSession]:
    """A person's, in all their tenants, newest first, from after the login `before`."""
    return repository.of_person(session, user_id, before=before, limit=limit)


def end_login(session: Session, actor: Actor, scope: Scope, session_id: UUID) -> None:
    """One of the person's, wherever it is; raises LoginUnknown."""
    assert scope.user_id is not None
    if not repository.revoke_of_person(session, scope.user_id, session_id):
        raise LoginUnknown
    audit.record(session, actor, "login.ended", tenant_id=scope.tenant_id, target=session_id)


def end_logins(
    session: Session, actor: Actor, tenant_id: UUID | None, user_id: UUID, *, also_keys: bool, reason: str | None = None
) -> None:
    """For its own sake, and so written down; `logout_everywhere` is for what is written down as something else."""
    logout_everywhere(session, user_id, also_keys=also_keys)
    after = {"keys": also_keys}
    audit.record(session, actor, "logins.ended", tenant_id=tenant_id, target=user_id, after=after, reason=reason)


def logout_everywhere(session: Session, user_id: UUID, *, also_keys: bool) -> None:
    """Every login of a person ends, and every API key if wanted."""
    users.lock(session, user_id)  # one that is being opened would not be seen
    repository.revoke_all(session, user_id)
    if also_keys:
        keys.revoke_all(session, user_id)


def present(session: Session, claims: Claims) -> Present | None:
    """Whether the login behind a token is still good, and whose it is."""
    return repository.present(session, claims.user_id, claims.tenant_id, claims.session_id)


def still_in(session: Session, ways: Collection[WayIn]) -> set[WayIn]:
    """Of people who were let in, those who would be now. One statement for all logins, one for all keys.

    A login that went on in another tenant is still good, but not where it was.
    """
    logins = {way.id for way in ways if way.kind is Kind.LOGIN}
    shown = {way.id for way in ways if way.kind is Kind.KEY}
    places = repository.still_good(session, logins) if logins else {}
    good = keys.still_good(session, shown) if shown else set()
    return {way for way in ways if way.id in good or places.get(way.id) == way.tenant_id}


def register(wiring: Wiring, email: str, password: str, invitation: str | None, actor: Actor) -> Tokens:
    """A new account, logged in: with its own tenant, or in the one that invited it.

    Raises EmailTaken, RegistrationClosed, InvitationRefused.
    """
    settings = wiring.settings
    with wiring.database.read() as session:
        invited = invitation is not None and invitations.tenant_of(session, invitation, joining.same(email)) is not None
    if not (invited or settings.registration_open):
        raise RegistrationClosed
    hashed = hash_password(password)
    grant = settings.credit.signup_grant
    waits = settings.auth.verified_email
    with wiring.database.write() as session:
        if invited and invitation is not None:
            user = joining.create_invited(session, actor, email, hashed, invitation)
        else:
            user = users.create(
                session,
                email,
                hashed,
                granted=0 if waits else grant,
                due=grant if waits else 0,
                grant_days=settings.credit.grant_days,
                invitation=(invitation or "") if invitation or settings.auth.invitation_only else None,
                actor=actor,
            )
        tokens = start(wiring, session, Scope(users.enter(session, user), user.id))
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
