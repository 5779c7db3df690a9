from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.models import Membership, Tenant
from backend.models.membership import Role
from backend.tenant.scope import in_tenant


def set_plan(session: Session, tenant_id: UUID, plan: str) -> None:
    session.execute(update(Tenant).where(Tenant.id == tenant_id).values(plan=plan))


def role_of(session: Session, tenant_id: UUID, user_id: UUID) -> Role | None:
    statement = select(Membership.role).where(in_tenant(Membership, tenant_id), Membership.user_id == user_id)
    return session.scalars(statement).one_or_none()


def add(session: Session, name: str, owner_id: UUID) -> Tenant:
    tenant = Tenant(name=name)
    session.add(tenant)
    session.flush()
    session.add(Membership(tenant_id=tenant.id, user_id=owner_id, role="owner"))
    session.flush()
    return tenant
