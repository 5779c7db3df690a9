"""Changing a password, setting a forgotten one anew, and proving an e-mail address."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.auth import letters, lockout, proof, service
from backend.auth.lockout import TooManyFailures
from backend.auth.password import hash_password, verify_password
from backend.auth.proof import Purpose
from backend.auth.service import Tokens
from backend.models import User
from backend.problem import Problem
from backend.tenant.scope import Scope
from backend.user import service as users
from backend.wiring import Wiring


class PasswordWrong(Problem):
    status = 403
    code = "password_wrong"
    detail = "The current password is wrong."
    advice = "Check it; a forgotten one can be set anew with POST /api/v1/password/forgotten."


class MailTokenRefused(Problem):
    status = 400
    code = "mail_token_invalid"
    detail = "The token is wrong, used or expired."
    advice = "Ask for a new letter; each token is good once."


class NoMailServer(Problem):
    status = 503
    code = "mail_unavailable"
    detail = "This service sends no mail."
    advice = "Ask the operator."
    headers = {"Retry-After": "3600"}


def change_password(
    wiring: Wiring, scope: Scope, email: str, current: str, new: str, actor: Actor, *, also_keys: bool
) -> Tokens:
    """Ends every login but gives tokens of a new one; raises PasswordWrong, TooManyFailures, TooManyLogins."""
    auth = wiring.settings.auth
    counters = lockout.password_counters(auth, email, actor.address or "")
    with wiring.database.write() as session:
        lockout.count_try(session, auth, counters)
        user = users.by_email(session, email)
    try:
        right = verify_password(current, user.password_hash if user else None)
        hashed = hash_password(new) if right else ""
    except Problem:
        with wiring.database.write() as session:
            lockout.take_back(session, counters)
        raise
    if not right or user is None:
        raise PasswordWrong
    with wiring.database.write() as session:
        if not users.change_password(session, user, hashed):
            raise PasswordWrong  # changed by another request meanwhile
        lockout.forgive(session, counters)
        service.logout_everywhere(session, user.id, also_keys=also_keys)
        tokens = service.start(wiring, session, scope)
        _record(session, actor, "password.changed", user, also_keys)
    _tell(wiring, user)
    return tokens


def confirm_password(wiring: Wiring, email: str, password: str, actor: Actor) -> None:
    """Before what can't be undone; raises PasswordWrong, TooManyFailures, TooManyLogins."""
    auth = wiring.settings.auth
    counters = lockout.password_counters(auth, email, actor.address or "")
    with wiring.database.write() as session:
        lockout.count_try(session, auth, counters)
        user = users.by_email(session, email)
    try:
        right = verify_password(password, user.password_hash if user else None)
    except Problem:
        with wiring.database.write() as session:
            lockout.take_back(session, counters)
        raise
    if not right:
        raise PasswordWrong
    with wiring.database.write() as session:
        lockout.forgive(session, counters)


def ask_reset(wiring: Wiring, email: str) -> None:
    """Send a letter if there is such an account; the asker can't tell. Raises NoMailServer."""
    user = _worth_a_letter(wiring, email)
    if user is not None and user.active:
        wiring.mail.send(letters.reset(wiring.settings, user))


def reset_password(wiring: Wiring, shown: str, new: str, actor: Actor, *, also_keys: bool) -> None:
    """Ends every login, and every key where the letter is what first proves the address: until then whoever
    registered it may have been somebody else. Raises MailTokenRefused, TooManyLogins.
    """
    with wiring.database.read() as session:
        user = _proven(wiring, session, "reset", shown)
    hashed = hash_password(new)
    with wiring.database.write() as session:
        if not users.change_password(session, user, hashed):  # the token was used meanwhile
            raise MailTokenRefused
        also_keys |= users.prove_email(session, user, wiring.settings.credit.grant_days)
        lockout.forgive(session, lockout.password_counters(wiring.settings.auth, user.email, actor.address or ""))
        service.logout_everywhere(session, user.id, also_keys=also_keys)
        _record(session, actor, "password.reset", user, also_keys)
    _tell(wiring, user)


def ask_verification(wiring: Wiring, email: str) -> None:
    """Send the letter again; raises NoMailServer."""
    user = _worth_a_letter(wiring, email)
    if user is not None and user.email_verified_at is None:
        wiring.mail.send(letters.verification(wiring.settings, user))


def verify_email(wiring: Wiring, shown: str, actor: Actor) -> None:
    """Welcome credits that waited for it are granted. Raises MailTokenRefused."""
    with wiring.database.write() as session:
        user = _proven(wiring, session, "verify", shown)
        if not users.prove_email(session, user, wiring.settings.credit.grant_days):
            raise MailTokenRefused
        _record(session, actor, "email.verified", user)


def _worth_a_letter(wiring: Wiring, email: str) -> User | None:
    """The account, unless it got enough letters lately. Does the same work for one that isn't there."""
    if not wiring.mail.sends:
        raise NoMailServer
    auth = wiring.settings.auth
    try:
        with wiring.database.write() as session:
            lockout.count_try(session, auth, lockout.letter_counters(auth, email))
            return users.by_email(session, email)
    except TooManyFailures:
        return None


def _proven(wiring: Wiring, session: Session, purpose: Purpose, shown: str) -> User:
    user_id = proof.named(shown)
    user = users.by_id(session, user_id) if user_id else None
    if user is None or not user.active or not proof.holds(wiring.settings.auth, purpose, user, shown):
        raise MailTokenRefused
    return user


def _record(session: Session, actor: Actor, action: str, user: User, also_keys: bool = False) -> None:
    actor = replace(actor, user_id=user.id)
    tenant_id = users.home_tenant(session, user.id)
    after = {"keys": True} if also_keys else None
    audit.record(session, actor, action, tenant_id=tenant_id, target=user.id, after=after)


def _tell(wiring: Wiring, user: User) -> None:
    if wiring.mail.sends:
        wiring.mail.send(letters.password_changed(user))
