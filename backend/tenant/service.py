from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.models import Tenant
from backend.models.membership import Role
from backend.tenant import repository


def create(session: Session, name: str, owner_id: UUID) -> Tenant:
    """A tenant with its first person."""
    return repository.add(session, name, owner_id)


def role_of(session: Session, tenant_id: UUID, user_id: UUID) -> Role | None:
    """None for somebody who is not in this tenant."""
    return repository.role_of(session, tenant_id, user_id)


def set_plan(session: Session, tenant_id: UUID, plan: str) -> None:
    """Which says how many turns it has in a round of the queue."""
    repository.set_plan(session, tenant_id, plan)
