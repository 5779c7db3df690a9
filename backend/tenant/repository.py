from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, delete, func, select, update
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.models import Membership, Tenant, User
from backend.models.membership import Role
from backend.tenant.scope import Scope, in_scope, in_tenant, serves_every_tenant


@dataclass(frozen=True, slots=True)
class Member:
    user_id: UUID
    email: str
    role: Role
    since: datetime


@dataclass(frozen=True, slots=True)
class Place:
    """A person's place in one of their tenants."""

    tenant_id: UUID
    name: str
    role: Role
    since: datetime
    suspended: bool


def get(session: Session, tenant_id: UUID) -> Tenant:
    found: Tenant = session.scalars(*_get(tenant_id)).one()
    return found


@built_once
def _get(tenant_id: UUID) -> Select[Tenant]:
    return select(Tenant).where(Tenant.id == tenant_id)


def lock(session: Session, tenant_id: UUID) -> None:
    # Rows that name the tenant can still be written meanwhile.
    session.execute(select(Tenant.id).where(Tenant.id == tenant_id).with_for_update(key_share=True))


def change(session: Session, tenant_id: UUID, **values: Any) -> None:
    session.execute(update(Tenant).where(Tenant.id == tenant_id).values(**values))


def set_plan(session: Session, tenant_id: UUID, plan: str) -> None:
    change(session, tenant_id, plan=plan)


def role_of(session: Session, tenant_id: UUID, user_id: UUID) -> Role | None:
    statement = select(Membership.role).where(in_tenant(Membership, tenant_id), Membership.user_id == user_id)
    return session.scalars(statement).one_or_none()


def stays(session: Session, scope: Scope) -> bool:
    statement = select(Membership.user_id).where(in_scope(Membership, scope))
    return session.scalars(statement.with_for_update(read=True, key_share=True)).one_or_none() is not None


@serves_every_tenant
def places(session: Session, user_id: UUID, *more: ColumnElement[bool]) -> list[Place]:
    """In all tenants: the person is the same."""
    rows = session.execute(
        select(Tenant.id, Tenant.name, Membership.role, Membership.created_at, Tenant.suspended_at)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .where(Membership.user_id == user_id, Tenant.erased_at.is_(None), *more)
        .order_by(Membership.created_at, Tenant.id)
    )
    return [Place(row.id, row.name, row.role, row.created_at, row.suspended_at is not None) for row in rows]


def place(session: Session, tenant_id: UUID, user_id: UUID) -> Place | None:
    return next(iter(places(session, user_id, Tenant.id == tenant_id)), None)


def members(session: Session, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Member]:
    """By the age of their accounts; `after` is the id of the last person already seen."""
    statement = (
        select(User.id, User.email, Membership.role, Membership.created_at)
        .join(User, User.id == Membership.user_id)
        .where(in_tenant(Membership, tenant_id))
        .order_by(Membership.user_id)
        .limit(limit)
    )
    if after is not None:
        statement = statement.where(Membership.user_id > after)
    return [Member(*row) for row in session.execute(statement)]


def member_named(session: Session, tenant_id: UUID, email: str) -> UUID | None:
    return session.scalars(
        select(User.id)
        .join(Membership, Membership.user_id == User.id)
        .where(in_tenant(Membership, tenant_id), User.email == email)
    ).one_or_none()


def count(session: Session, tenant_id: UUID) -> int:
    statement = select(func.count()).select_from(Membership).where(in_tenant(Membership, tenant_id))
    return session.scalars(statement).one()


def owners(session: Session, tenant_id: UUID) -> list[tuple[UUID, bool]]:
    """With whether they are active. Who came first is first."""
    rows = session.execute(
        select(Membership.user_id, User.active)
        .join(User, User.id == Membership.user_id)
        .where(in_tenant(Membership, tenant_id), Membership.role == "owner")
        .order_by(Membership.created_at, Membership.user_id)
    )
    return [(row.user_id, row.active) for row in rows]


def set_role(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    session.execute(
        update(Membership).where(in_tenant(Membership, tenant_id), Membership.user_id == user_id).values(role=role)
    )


def remove(session: Session, tenant_id: UUID, user_id: UUID) -> None:
    session.execute(delete(Membership).where(in_tenant(Membership, tenant_id), Membership.user_id == user_id))


def join(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    session.add(Membership(tenant_id=tenant_id, user_id=user_id, role=role))
    session.flush()


def add(session: Session, name: str, owner_id: UUID) -> Tenant:
    tenant = Tenant(name=name)
    session.add(tenant)
    session.flush()
    join(session, tenant.id, owner_id, "owner")
    return tenant
