"""What the operator looks at: over all tenants, and so marked, every one of these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.identity import first_id
from backend.models import Account, ApiKey, Artifact, LoginSession, Membership, Task, Tenant, Upload, User
from backend.tenant.scope import serves_every_tenant

TenantState = Literal["active", "suspended", "erased"]
UserState = Literal["active", "deactivated", "operator", "erased"]

_STATES = {
    "active": (Tenant.suspended_at.is_(None), Tenant.erased_at.is_(None)),
    "suspended": (Tenant.suspended_at.is_not(None),),
    "erased": (Tenant.erased_at.is_not(None),),
}
_USER_STATES = {
    "active": (User.active.is_(True), User.erased_at.is_(None)),
    "deactivated": (User.active.is_(False), User.erased_at.is_(None)),
    "operator": (User.operator.is_(True),),
    "erased": (User.erased_at.is_not(None),),
}


@serves_every_tenant
def tenants(
    session: Session, *, part: str | None, state: TenantState | None, before: UUID | None, limit: int
) -> list[Tenant]:
    """Newest first. `part` is of its name, or of the address of one who is in it."""
    statement = select(Tenant)
    if part is not None:
        inside = (
            select(Membership.tenant_id)
            .join(User, User.id == Membership.user_id)
            .where(User.email.contains(part.lower(), autoescape=True))
        )
        named = func.lower(Tenant.name).contains(part.lower(), autoescape=True)
        statement = statement.where(or_(named, Tenant.id.in_(inside)))
    if state is not None:
        statement = statement.where(*_STATES[state])
    if before is not None:
        statement = statement.where(Tenant.id < before)
    return list(session.scalars(statement.order_by(Tenant.id.desc()).limit(limit)))


def tenant(session: Session, tenant_id: UUID, *, lock: bool = False) -> Tenant | None:
    statement = select(Tenant).where(Tenant.id == tenant_id)
    return session.scalars(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


@serves_every_tenant
def members(session: Session, tenant_id: UUID) -> Sequence[tuple[Membership, User]]:
    statement = select(Membership, User).join(User, User.id == Membership.user_id)
    statement = statement.where(Membership.tenant_id == tenant_id).order_by(Membership.created_at, User.id)
    return [(membership, user) for membership, user in session.execute(statement)]


@serves_every_tenant
def tasks_by_status(session: Session, tenant_id: UUID | None = None) -> dict[str, int]:
    """Of one tenant, or of all those that are not finished."""
    statement = select(Task.status, func.count().label("number")).group_by(Task.status)
    if tenant_id is None:
        statement = statement.where(Task.status.in_(("queued", "processing")))
    else:
        statement = statement.where(Task.tenant_id == tenant_id)
    return {row.status: row.number for row in session.execute(statement)}


@serves_every_tenant
def users(
    session: Session, *, part: str | None, state: UserState | None, before: UUID | None, limit: int
) -> list[User]:
    """Newest first. `part` is of the address."""
    statement: Select[User] = select(User)
    if part is not None:
        statement = statement.where(User.email.contains(part.lower(), autoescape=True))
    if state is not None:
        statement = statement.where(*_USER_STATES[state])
    if before is not None:
        statement = statement.where(User.id < before)
    return list(session.scalars(statement.order_by(User.id.desc()).limit(limit)))


@serves_every_tenant
def keys(session: Session, user_id: UUID) -> int:
    """API keys that are not revoked."""
    statement = select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
    return session.scalars(statement).one()


@serves_every_tenant
def last_login(session: Session, user_id: UUID) -> datetime | None:
    """Of the person themselves, as far as logins are kept."""
    return session.scalars(
        select(func.max(LoginSession.created_at)).where(
            LoginSession.user_id == user_id, LoginSession.impersonator_id.is_(None)
        )
    ).one()


@serves_every_tenant
def tenant_of_task(session: Session, task_id: UUID) -> UUID | None:
    return session.scalars(select(Task.tenant_id).where(Task.id == task_id)).one_or_none()


@serves_every_tenant
def failed_since(session: Session, moment: datetime) -> dict[str, int]:
    """Tasks ordered since then that failed, by their error."""
    statement = select(Task.error_code, func.count()).group_by(Task.error_code)
    rows = session.execute(statement.where(Task.status == "failed", Task.id >= first_id(moment)))
    return {code or "unknown": count for code, count in rows}


@dataclass(frozen=True, slots=True)
class Ledger:
    """Sums over all accounts, in millicredits; together they are 0."""

    available: int
    held: int
    issued: int
    earned: int


@serves_every_tenant
def ledger(session: Session) -> Ledger:
    rows = session.execute(select(Account.kind, func.sum(Account.balance)).group_by(Account.kind))
    return Ledger(**{"available": 0, "held": 0, "issued": 0, "earned": 0} | {kind: int(total) for kind, total in rows})


@serves_every_tenant
def stored_bytes(session: Session) -> int:
    """Songs and results that are kept; songs of the same content share a file."""
    files = (
        select(func.max(Upload.size).label("size"))
        .where(Upload.deleted_at.is_(None), Upload.sample.is_(False))
        .group_by(Upload.storage_key)
        .subquery()
    )
    songs = select(func.coalesce(func.sum(files.c.size), 0))
    results = (
        select(func.coalesce(func.sum(Artifact.size), 0))
        .join(Task, (Task.tenant_id == Artifact.tenant_id) & (Task.id == Artifact.task_id))
        .where(Task.deleted_at.is_(None))
    )
    return int(session.scalars(songs).one()) + int(session.scalars(results).one())


def now(session: Session) -> datetime:
    return session.scalars(select(database_now())).one()
