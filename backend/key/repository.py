from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.clock import database_now
from backend.models import ApiKey, Membership, Tenant, TenantLimit, User
from backend.tenant.scope import Scope, in_scope, serves_every_tenant
from backend.tenant.standing import STANDING, Standing


@dataclass(frozen=True, slots=True)
class Holder:
    """A key that is good, and the active person whom it stands for."""

    key: ApiKey
    email: str
    role: str
    email_verified: bool
    operator: bool
    tenant: Standing
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


def revoke_all_in(session: Session, scope: Scope) -> None:
    session.execute(
        update(ApiKey).where(in_scope(ApiKey, scope), ApiKey.revoked_at.is_(None)).values(revoked_at=database_now())
    )


@serves_every_tenant
def revoke_all(session: Session, user_id: UUID) -> None:
    """Everywhere: it is the person who lost trust in them."""
    session.execute(
        update(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)).values(revoked_at=database_now())
    )


@serves_every_tenant
def holder(session: Session, prefix: str, idle_seconds: float) -> Holder | None:
    """By the public part of a key, which says whose it is; whether the rest fits is for the caller to see."""
    return _holder(session, prefix, None, idle_seconds)


@serves_every_tenant
def holder_of(session: Session, key_id: UUID) -> Holder | None:
    """By an id that comes from a key that was checked."""
    return _holder(session, None, key_id, 0)


@serves_every_tenant
def still_good(session: Session, key_ids: Collection[UUID]) -> set[UUID]:
    """Of these keys, those that `holder_of` would find in good standing; each comes from one that was checked."""
    found = session.scalars(
        select(ApiKey.id)
        .join(User, User.id == ApiKey.user_id)
        .join(Membership, (Membership.user_id == User.id) & (Membership.tenant_id == ApiKey.tenant_id))
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .where(ApiKey.id.in_(key_ids), Tenant.suspended_at.is_(None), *_good())
    )
    return set(found)


def _good() -> tuple[ColumnElement[bool], ...]:
    """Of a key that was joined with its person."""
    return (
        User.active.is_(True),
        ApiKey.revoked_at.is_(None),
        ApiKey.expires_at.is_(None) | (ApiKey.expires_at > database_now()),
    )


def _holder(session: Session, prefix: str | None, key_id: UUID | None, idle_seconds: float) -> Holder | None:
    row = session.execute(*_held(prefix, key_id, -idle_seconds)).one_or_none()
    if row is None:
        return None
    key, email, role, verified_at, operator, unused, *standing = cast("Sequence[Any]", row)
    return Holder(key, email, role, verified_at is not None, operator, Standing(*standing), bool(unused))


@serves_every_tenant
@built_once
def _held(prefix: str | None, key_id: UUID | None, idle_after: float) -> Select[*tuple[Any, ...]]:
    idle = ApiKey.last_used_at.is_(None) | (ApiKey.last_used_at < database_now(idle_after))
    return (
        select(ApiKey, User.email, Membership.role, User.email_verified_at, User.operator, idle, *STANDING)
        .join(User, User.id == ApiKey.user_id)
        .join(Tenant, Tenant.id == ApiKey.tenant_id)
        .outerjoin(TenantLimit, TenantLimit.tenant_id == ApiKey.tenant_id)
        .join(Membership, (Membership.user_id == User.id) & (Membership.tenant_id == ApiKey.tenant_id))
        .where(ApiKey.prefix == prefix if key_id is None else ApiKey.id == key_id, *_good())
    )


@serves_every_tenant
def used(session: Session, key_id: UUID) -> None:
    """The id comes from a key that was checked."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=database_now()))
