from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Membership, User
from backend.tenant.scope import serves_every_tenant


@dataclass(frozen=True, slots=True)
class Member:
    """An active person in one tenant."""

    email: str
    role: str


def by_email(session: Session, email: str) -> User | None:
    return session.scalars(select(User).where(User.email == email)).one_or_none()


def member(session: Session, user_id: UUID, tenant_id: UUID) -> Member | None:
    row = session.execute(
        select(User.email, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(User.id == user_id, Membership.tenant_id == tenant_id, User.active)
    ).one_or_none()
    return None if row is None else Member(row.email, row.role)


@serves_every_tenant
def home_tenant(session: Session, user_id: UUID) -> UUID | None:
    """The tenant that a login enters: the one joined first. It is what tells the scope."""
    return session.scalars(
        select(Membership.tenant_id)
        .where(Membership.user_id == user_id)
        .order_by(Membership.created_at, Membership.tenant_id)
        .limit(1)
    ).one_or_none()


def add(session: Session, email: str, password_hash: str) -> User:
    user = User(email=email, password_hash=password_hash)
    session.add(user)
    session.flush()
    return user
