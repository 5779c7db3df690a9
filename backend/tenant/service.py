"""Tenants and who is in them: their rows. What else happens when somebody comes or goes, says `backend.member`."""

from __future__ import annotations

from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.models import Task, Tenant, Upload
from backend.models.membership import Role
from backend.problem import Problem
from backend.tenant import repository
from backend.tenant.repository import Member as Member
from backend.tenant.repository import Place as Place
from backend.tenant.scope import Scope

Thing = TypeVar("Thing", Task, Upload)


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
    if not stays(session, scope):
        raise MembershipEnded


def stays(session: Session, scope: Scope) -> bool:
    """Whether somebody is in; who is, stays until the transaction ends. For who is to get something, too."""
    return repository.stays(session, scope)


def payee(session: Session, tenant_id: UUID, user_id: UUID) -> UUID | None:
    """Who gets what is owed to somebody, and stays until the transaction ends: they, or, if they have left, the
    first owner, of those who can log in if there are any; nobody where the tenant is erased.
    """
    lock(session, tenant_id)
    if role_of(session, tenant_id, user_id) is not None:
        return user_id
    found = [owner for idle in (False, True) for owner in owners(session, tenant_id, but=user_id, idle=idle)]
    return found[0] if found else None


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


def owners(session: Session, tenant_id: UUID, *, but: UUID, idle: bool = False) -> list[UUID]:
    """Others than `but`, who came first is first: those who can log in or, if `idle`, those who can't."""
    found = repository.owners(session, tenant_id)
    return [user_id for user_id, active in found if user_id != but and active is not idle]


def take_up(session: Session, keeper: Actor, left: Thing | None, action: str) -> Thing | None:
    """What an owner or admin does to a thing of somebody who is gone is written down; None while they are in."""
    if left is None or role_of(session, left.tenant_id, left.user_id) is not None:
        return None
    before = {"user_id": str(left.user_id)}
    audit.record(session, keeper, action, tenant_id=left.tenant_id, target=left.id, before=before)
    return left


def join(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    repository.join(session, tenant_id, user_id, role)


def set_role(session: Session, tenant_id: UUID, user_id: UUID, role: Role) -> None:
    repository.set_role(session, tenant_id, user_id, role)


def remove(session: Session, tenant_id: UUID, user_id: UUID) -> None:
    repository.remove(session, tenant_id, user_id)
