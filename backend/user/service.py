"""People: each gets a tenant of their own and an account with credits."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import COMMAND, Actor
from backend.credit import service as credit
from backend.invitation import service as invitations
from backend.models import User
from backend.problem import Problem
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.user import repository
from backend.user.repository import Member


class EmailTaken(Problem):
    status = 409
    code = "email_taken"
    detail = "There is an account with this e-mail address."
    advice = "Log in, or register with another address."


class UnknownUser(Problem):
    status = 404
    code = "user_not_found"
    detail = "There is no account with this e-mail address."
    advice = "Check the address."


class NoSuchPerson(UnknownUser):
    detail = "There is no such person, or not any more."
    advice = "GET /api/v1/admin/users lists everybody."


class OneselfRefused(Problem):
    status = 409
    code = "not_oneself"
    detail = "An operator can't do this to themselves."
    advice = "Ask another operator, or use `vocal-remover admin`."


class LastOperator(Problem):
    status = 409
    code = "last_operator"
    detail = "This is the last operator who can log in."
    advice = "Make somebody else an operator first."


class InvitationRefused(Problem):
    status = 403
    code = "invitation_refused"
    detail = "There is no invitation with this code for this address, or it was used or has expired."
    advice = "Ask whoever invites you for a new one, and send its code as `invitation`."


def by_email(session: Session, email: str) -> User | None:
    if "\0" in email:  # nobody's, and PostgreSQL refuses to compare it
        return None
    return repository.by_email(session, same(email))


def by_id(session: Session, user_id: UUID) -> User | None:
    return repository.by_id(session, user_id)


def lock(session: Session, user_id: UUID) -> None:
    """Of those who open logins of this person or end them all, each sees in later statements what the last one did."""
    repository.lock(session, user_id)


def require(session: Session, user_id: UUID) -> User:
    """Raises NoSuchPerson, also for one who was erased."""
    user = repository.by_id(session, user_id)
    if user is None or user.erased_at is not None:
        raise NoSuchPerson
    return user


def member(session: Session, user_id: UUID, tenant_id: UUID) -> Member | None:
    return repository.member(session, user_id, tenant_id)


def home_tenant(session: Session, user_id: UUID) -> UUID | None:
    return repository.home_tenant(session, user_id)


def enter(session: Session, user: User) -> UUID:
    """The tenant that a login enters. Who was left without one gets one of their own, without credits."""
    found = repository.home_tenant(session, user.id)
    if found is None:
        repository.lock(session, user.id)  # of two logins at once, one makes it
        found = repository.home_tenant(session, user.id)
    if found is None:
        found = tenants.create(session, user.email, user.id).id
        credit.open_account(session, found, user.id, 0)
        audit.record(session, Actor("user", user_id=user.id), "tenant.created", tenant_id=found, target=found)
    return found


def emails(session: Session, user_ids: Collection[UUID]) -> dict[UUID, str]:
    """Of people whose ids stand in rows that the asker may see."""
    return repository.emails(session, user_ids)


def create(
    session: Session,
    email: str,
    password_hash: str,
    *,
    granted: int,
    due: int = 0,
    grant_days: int = 0,
    invitation: str | None = None,
    actor: Actor = COMMAND,
) -> User:
    """With `granted` millicredits now and `due` ones when the address is proven. Who registers is their own actor.
    `grant_days` until they expire; 0: never.

    Raises EmailTaken; and, before it, InvitationRefused for a code that is given and not good.
    """
    code = None if invitation is None else _sha256(invitation)
    if code is not None and not repository.take_invitation(session, code, same(email)):
        raise InvitationRefused
    try:
        user = repository.add(session, same(email), password_hash, due)
    except IntegrityError as error:
        raise EmailTaken from error
    if code is not None:
        repository.note_invited(session, code, user.id)
    tenant = tenants.create(session, same(email), user.id)
    credit.open_account(session, tenant.id, user.id, granted, grant_days)
    by = replace(actor, user_id=user.id) if actor.kind == "user" else actor
    after = {"granted": granted, "due": due, "invited": code is not None}
    audit.record(session, by, "user.created", tenant_id=tenant.id, target=user.id, after=after)
    return user


def invite(session: Session, email: str | None, days: float) -> str:
    """The operator's: a code that lets one person register, of this address if one is named. Shown once."""
    code = secrets.token_urlsafe(16)
    audit.record(session, COMMAND, "invitation.made", after={"days": days, "for_one_address": email is not None})
    repository.add_invitation(session, _sha256(code), same(email) if email else None, days * 86_400.0)
    return code


def change_password(session: Session, user: User, password_hash: str) -> bool:
    """False when it is no longer the password that `user` was read with."""
    return repository.change_password(session, user, password_hash)


def set_active(session: Session, actor: Actor, user_id: UUID, active: bool, reason: str | None) -> bool:
    """Whether this changed anything. Who is not active has no logins, keys and invitations that are good.

    Raises NoSuchPerson, OneselfRefused, LastOperator.
    """
    user = require(session, user_id)
    if not active:
        _spare(session, actor, user_id)
    if not repository.set_active(session, user_id, active):
        return False
    if not active:
        invitations.revoke_all(session, user_id)
    action = "user.activated" if active else "user.deactivated"
    audit.record(session, actor, action, tenant_id=home_tenant(session, user.id), target=user_id, reason=reason)
    return True


def set_operator(session: Session, actor: Actor, user_id: UUID, operator: bool) -> bool:
    """Whether this changed anything. Raises NoSuchPerson, OneselfRefused, LastOperator."""
    require(session, user_id)
    if not operator:
        _spare(session, actor, user_id)
    if not repository.set_operator(session, user_id, operator):
        return False
    audit.record(session, actor, "operator.added" if operator else "operator.removed", target=user_id)
    return True


def _spare(session: Session, actor: Actor, user_id: UUID) -> None:
    """Somebody must be left who can undo it."""
    if actor.user_id == user_id:
        raise OneselfRefused
    spare_last_operator(session, user_id)


def spare_last_operator(session: Session, user_id: UUID) -> None:
    """Raises LastOperator for the only one."""
    if repository.lock_operators(session) == [user_id]:
        raise LastOperator


def prove_email(session: Session, user: User, grant_days: int = 0) -> bool:
    """False when it was proven before. Welcome credits that waited for it are granted, once."""
    due = repository.prove_email(session, user)
    if due:
        credit.welcome(session, enter(session, user), user.id, due, grant_days)
    return due is not None


def grant(session: Session, email: str, amount: int, reason: str) -> None:
    """The operator's, at the command line: millicredits for the person with this address; raises UnknownUser."""
    user = by_email(session, email)
    if user is None:
        raise UnknownUser
    grant_to(session, COMMAND, user.id, amount, reason)


def grant_to(
    session: Session,
    actor: Actor,
    user_id: UUID,
    amount: int,
    reason: str,
    *,
    tenant_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> None:
    """Millicredits, in the person's first tenant unless another of theirs is named.

    Raises NoSuchPerson, GrantExpiryRefused.
    """
    require(session, user_id)
    if expires_at is not None:
        credit.require_future(session, expires_at)
    tenant_id = tenant_id or home_tenant(session, user_id)
    if tenant_id is None or not tenants.stays(session, Scope(tenant_id, user_id)):
        raise NoSuchPerson("This person is not in that tenant.")
    credit.grant(session, tenant_id, user_id, amount, reason, expires_at=expires_at)
    after = {"millicredits": amount, "expires_at": None if expires_at is None else expires_at.isoformat()}
    audit.record(session, actor, "credits.granted", tenant_id=tenant_id, target=user_id, after=after, reason=reason)


def same(email: str) -> str:
    """One person, one spelling: addresses are compared without case."""
    return email.strip().lower()


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
