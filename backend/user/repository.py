from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Invitation, Membership, Tenant, User
from backend.tenant.scope import serves_every_tenant


@dataclass(frozen=True, slots=True)
class Member:
    """An active person in one tenant."""

    email: str
    role: str


def by_email(session: Session, email: str) -> User | None:
    return session.scalars(select(User).where(User.email == email)).one_or_none()


def by_id(session: Session, user_id: UUID) -> User | None:
    return session.scalars(select(User).where(User.id == user_id)).one_or_none()


def member(session: Session, user_id: UUID, tenant_id: UUID) -> Member | None:
    row = session.execute(
        select(User.email, Membership.role)
        .join(Membership, Membership.user_id == User.id)
        .where(User.id == user_id, Membership.tenant_id == tenant_id, User.active)
    ).one_or_none()
    return None if row is None else Member(row.email, row.role)


@serves_every_tenant
def home_tenant(session: Session, user_id: UUID) -> UUID | None:
    """The tenant that a login enters: the one joined first, of those that work. It is what tells the scope."""
    return session.scalars(
        select(Membership.tenant_id)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .where(Membership.user_id == user_id, Tenant.erased_at.is_(None))
        .order_by(Tenant.suspended_at.is_not(None), Membership.created_at, Membership.tenant_id)
        .limit(1)
    ).one_or_none()


def lock(session: Session, user_id: UUID) -> None:
    session.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


def emails(session: Session, user_ids: Collection[UUID]) -> dict[UUID, str]:
    rows = session.execute(select(User.id, User.email).where(User.id.in_(user_ids)))
    return {row.id: row.email for row in rows}


def add(session: Session, email: str, password_hash: str, welcome_due: int) -> User:
    user = User(email=email, password_hash=password_hash, welcome_due=welcome_due)
    session.add(user)
    session.flush()
    return user


def change_password(session: Session, user: User, password_hash: str) -> bool:
    """False when it is no longer the password that `user` was read with."""
    statement = (
        update(User)
        .where(User.id == user.id, User.password_hash == user.password_hash, User.active)
        .values(password_hash=password_hash)
        .returning(User.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none() is not None


def lock_operators(session: Session) -> list[UUID]:
    """Those who can log in. Of two who take it from each other at once, the second sees what the first did."""
    statement = select(User.id).where(User.operator.is_(True), User.active.is_(True)).order_by(User.id)
    # Rows that name them can still be written meanwhile, by who holds a membership that an erasure waits for.
    return list(session.scalars(statement.with_for_update(key_share=True)))


def set_active(session: Session, user_id: UUID, active: bool) -> bool:
    """False when it was so before."""
    statement = update(User).where(User.id == user_id, User.active.is_not(active)).values(active=active)
    return session.scalars(statement.returning(User.id)).one_or_none() is not None


def set_operator(session: Session, user_id: UUID, operator: bool) -> bool:
    """False when it was so before."""
    statement = update(User).where(User.id == user_id, User.operator.is_not(operator)).values(operator=operator)
    return session.scalars(statement.returning(User.id)).one_or_none() is not None


def prove_email(session: Session, user: User) -> int | None:
    """The welcome credits that waited for it; None when it was proven before."""
    # One statement takes them, another empties the place: the row is locked by the first.
    statement = (
        update(User)
        .where(User.id == user.id, User.email_verified_at.is_(None))
        .values(email_verified_at=database_now())
        .returning(User.welcome_due)
        .execution_options(synchronize_session=False)
    )
    due = session.scalars(statement).one_or_none()
    if due:
        session.execute(
            update(User).where(User.id == user.id).values(welcome_due=0).execution_options(synchronize_session=False)
        )
    return due


def add_invitation(session: Session, sha256: str, email: str | None, seconds: float) -> None:
    row = Invitation(sha256=sha256, email=email)
    row.expires_at = database_now(seconds)
    session.add(row)
    session.flush()


def take_invitation(session: Session, sha256: str, email: str) -> bool:
    """Of two that show it, one gets in."""
    statement = (
        update(Invitation)
        .where(
            Invitation.sha256 == sha256,
            Invitation.used_at.is_(None),
            Invitation.expires_at > database_now(),
            Invitation.email.is_(None) | (Invitation.email == email),
        )
        .values(used_at=database_now())
        .returning(Invitation.sha256)
    )
    return session.scalars(statement).one_or_none() is not None


def note_invited(session: Session, sha256: str, user_id: UUID) -> None:
    session.execute(update(Invitation).where(Invitation.sha256 == sha256).values(used_by=user_id))
