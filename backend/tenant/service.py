"""Tenants and who is in them: their rows. What else happens when somebody comes or goes, says `backend.member`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.models import Tenant
from backend.models.membership import Role
from backend.problem import Problem
from backend.tenant import repository
from backend.tenant.repository import Member as Member
from backend.tenant.repository import Place as Place
from backend.tenant.scope import Scope


class MembershipEnded(Problem):
    status = 403
    code = "membership_ended"
    detail = "You are no longer a member of this tenant."
    advice = "Log in again with POST /api/v1/login."


def create(session: Session, name: str, owner_id: UUID) -> Tenant:
    """A tenant with its first person."""
    return repository.add(session, name, owner_id)


def get(session: Session, tenant_id: UUID) -> Tenant:
    """Of somebody who is in it."""
    return repository.get(session, tenant_id)


def lock(session: Session, tenant_id: UUID) -> None:
    """Nobody else comes, goes or changes roles until the transaction ends."""
    repository.lock(session, tenant_id)


def change(session: Session, tenant_id: UUID, **values: Any) -> None:
    repository.change(session, tenant_id, **values)


def set_plan(session: Session, tenant_id: UUID, plan: str) -> None:
    """Which says how many turns it has in a round of the queue."""
    repository.set_plan(session, tenant_id, plan)


def role_of(session: Session, tenant_id: UUID, user_id: UUID) -> Role | None:
    """None for somebody who is not in this tenant."""
    return repository.role_of(session, tenant_id, user_id)


def require_member(session: Session, scope: Scope) -> None:
    """Who is in stays until the transaction ends; raises MembershipEnded. `lock`, where it is needed, comes before.

    A request that was let in a moment before its sender was removed would otherwise leave something behind.
    """
    if not repository.stays(session, scope):
        raise MembershipEnded


def places(session: Session, user_id: UUID) -> list[Place]:
    """A person's tenants, the one joined first is first."""
    return repository.places(session, user_id)


def place(session: Session, tenant_id: UUID, user_id: UUID) -> Place | None:
    return repository.place(session, tenant_id, user_id)


def members(session: Session, tenant_id: UUID, *, after: UUID | None, limit: int) -> list[Member]:
    """Whose account is oldest is first, from after the person `after`."""
    return repository.members(session, tenant_id, after=after, limit=limit)


def member_named(session: Session, tenant_id: UUID, email: str) -> UUID | None:
    return repository.member_named(session, tenant_id, email)


def count(session: Session, tenant_id: UUID) -> int:
    """How many people are in it."""
    return repository.count(session, tenant_id)


def owners(session: Session, tenant_id: UUID) -> list[UUID]:
    """Who came first is first."""
    return repository.owners(session, tenant_id)


def join(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    repository.join(session, tenant_id, user_id, role)


def set_role(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    repository.set_role(session, tenant_id, user_id, role)


def remove(session: Session, tenant_id: UUID, user_id: UUID) -> None:
    repository.remove(session, tenant_id, user_id)
