from __future__ import annotations

from uuid import UUID

from sqlalchemy import update
from sqlalchemy.orm import Session

from backend.models import Membership, Tenant


def set_plan(session: Session, tenant_id: UUID, plan: str) -> None:
    session.execute(update(Tenant).where(Tenant.id == tenant_id).values(plan=plan))


def add(session: Session, name: str, owner_id: UUID) -> Tenant:
    tenant = Tenant(name=name)
    session.add(tenant)
    session.flush()
    session.add(Membership(tenant_id=tenant.id, user_id=owner_id, role="owner"))
    session.flush()
    return tenant
