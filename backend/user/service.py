"""People: each gets a tenant of their own and an account with credits."""

from __future__ import annotations

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


def by_email(session: Session, email: str) -> User | None:
    if "\0" in email:  # nobody's, and PostgreSQL refuses to compare it
        return None
    return repository.by_email(session, _same(email))


def member(session: Session, user_id: UUID, tenant_id: UUID) -> Member | None:
    return repository.member(session, user_id, tenant_id)


def home_tenant(session: Session, user_id: UUID) -> UUID | None:
    return repository.home_tenant(session, user_id)


def create(session: Session, email: str, password_hash: str, *, granted: int) -> User:
    """Raises EmailTaken."""
    try:
        user = repository.add(session, _same(email), password_hash)
    except IntegrityError as error:
        raise EmailTaken from error
    tenant = tenants.create(session, _same(email), user.id)
    credit.open_account(session, tenant.id, user.id, granted)
    return user


def grant(session: Session, email: str, amount: int, reason: str) -> None:
    """Millicredits for the person with this address; raises UnknownUser."""
    user = by_email(session, email)
    tenant_id = home_tenant(session, user.id) if user else None
    if user is None or tenant_id is None:
        raise UnknownUser
    credit.grant(session, tenant_id, user.id, amount, reason)


def _same(email: str) -> str:
    """One person, one spelling: addresses are compared without case."""
    return email.strip().lower()
