"""People: each gets a tenant of their own and an account with credits."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.credit import service as credit
from backend.models import User
from backend.problem import Problem
from backend.tenant import service as tenants
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


class InvitationRefused(Problem):
    status = 403
    code = "invitation_refused"
    detail = "Registering needs an invitation, and this code is none, used, expired or for another address."
    advice = "Ask the operator for an invitation, and send its code as `invitation`."


def by_email(session: Session, email: str) -> User | None:
    if "\0" in email:  # nobody's, and PostgreSQL refuses to compare it
        return None
    return repository.by_email(session, _same(email))


def by_id(session: Session, user_id: UUID) -> User | None:
    return repository.by_id(session, user_id)


def member(session: Session, user_id: UUID, tenant_id: UUID) -> Member | None:
    return repository.member(session, user_id, tenant_id)


def home_tenant(session: Session, user_id: UUID) -> UUID | None:
    return repository.home_tenant(session, user_id)


def create(
    session: Session, email: str, password_hash: str, *, granted: int, due: int = 0, invitation: str | None = None
) -> User:
    """With `granted` millicredits now and `due` ones when the address is proven.

    Raises EmailTaken; and, before it, InvitationRefused for a code that is given and not good.
    """
    code = None if invitation is None else _sha256(invitation)
    if code is not None and not repository.take_invitation(session, code, _same(email)):
        raise InvitationRefused
    try:
        user = repository.add(session, _same(email), password_hash, due)
    except IntegrityError as error:
        raise EmailTaken from error
    if code is not None:
        repository.note_invited(session, code, user.id)
    tenant = tenants.create(session, _same(email), user.id)
    credit.open_account(session, tenant.id, user.id, granted)
    return user


def invite(session: Session, email: str | None, days: float) -> str:
    """A code that lets one person register, of this address if one is named. Shown once."""
    code = secrets.token_urlsafe(16)
    repository.add_invitation(session, _sha256(code), _same(email) if email else None, days * 86_400.0)
    return code


def change_password(session: Session, user: User, password_hash: str) -> bool:
    """False when it is no longer the password that `user` was read with."""
    return repository.change_password(session, user, password_hash)


def prove_email(session: Session, user: User) -> bool:
    """False when it was proven before. Welcome credits that waited for it are granted, once."""
    due = repository.prove_email(session, user)
    tenant_id = home_tenant(session, user.id)
    if due and tenant_id is not None:
        credit.grant(session, tenant_id, user.id, due, "welcome")
    return due is not None


def grant(session: Session, email: str, amount: int, reason: str) -> None:
    """Millicredits for the person with this address; raises UnknownUser."""
    user = by_email(session, email)
    tenant_id = home_tenant(session, user.id) if user else None
    if user is None or tenant_id is None:
        raise UnknownUser
    credit.grant(session, tenant_id, user.id, amount, reason)


def set_plan(session: Session, email: str, plan: str) -> None:
    """Of the tenant that this person's login enters; raises UnknownUser."""
    user = by_email(session, email)
    tenant_id = home_tenant(session, user.id) if user else None
    if tenant_id is None:
        raise UnknownUser
    tenants.set_plan(session, tenant_id, plan)


def _same(email: str) -> str:
    """One person, one spelling: addresses are compared without case."""
    return email.strip().lower()


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
