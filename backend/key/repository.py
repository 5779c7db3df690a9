from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import ApiKey, Membership, User
from backend.tenant.scope import Scope, in_scope, serves_every_tenant


@dataclass(frozen=True, slots=True)
class Holder:
    """A key that is good, and the active person whom it stands for."""

    key: ApiKey
    email: str
    role: str
    email_verified: bool
    idle: bool
    """Its last use is not of this minute."""


def add(session: Session, key: ApiKey) -> None:
    session.add(key)
    session.flush()


def listed(session: Session, scope: Scope) -> list[ApiKey]:
    statement = select(ApiKey).where(in_scope(ApiKey, scope), ApiKey.revoked_at.is_(None))
    return list(session.scalars(statement.order_by(ApiKey.id.desc())))


def count(session: Session, scope: Scope) -> int:
    statement = select(func.count()).select_from(ApiKey).where(in_scope(ApiKey, scope), ApiKey.revoked_at.is_(None))
    return session.scalars(statement).one()


def revoke(session: Session, scope: Scope, key_id: UUID) -> bool:
    statement = (
        update(ApiKey)
        .where(in_scope(ApiKey, scope), ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
        .values(revoked_at=database_now())
        .returning(ApiKey.id)
    )
    return session.scalars(statement).one_or_none() is not None


@serves_every_tenant
def revoke_all(session: Session, user_id: UUID) -> None:
    """Everywhere: it is the person who lost trust in them."""
    session.execute(
        update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)).values(revoked_at=database_now())
    )


@serves_every_tenant
def holder(session: Session, prefix: str, idle_seconds: float) -> Holder | None:
    """By the public part of a key, which says whose it is; whether the rest fits is for the caller to see."""
    idle = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < database_now(-idle_seconds))
    row = session.execute(
        select(ApiKey, User.email, Membership.role, User.email_verified_at, idle)
        .join(User, User.id == ApiKey.user_id)
        .join(Membership, (Membership.user_id == User.id) & (Membership.tenant_id == ApiKey.tenant_id))
        .where(
            ApiKey.prefix == prefix,
            ApiKey.revoked_at.is_(None),
            ApiKey.expires_at.is_(None) | (ApiKey.expires_at > database_now()),
            User.active,
        )
    ).one_or_none()
    return None if row is None else Holder(row[0], row[1], row[2], row[3] is not None, bool(row[4]))


@serves_every_tenant
def used(session: Session, key_id: UUID) -> None:
    """The id comes from a key that was checked."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=database_now()))
