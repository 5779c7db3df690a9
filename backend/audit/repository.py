from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, Update, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.identity import first_id
from backend.models import AuditEntry
from backend.tenant.scope import in_tenant, serves_every_tenant


def add(session: Session, entry: AuditEntry) -> None:
    session.add(entry)
    session.flush()


def of_tenant(session: Session, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[AuditEntry]:
    return _page(session, select(AuditEntry).where(in_tenant(AuditEntry, tenant_id)), before, limit)


@serves_every_tenant
def everywhere(
    session: Session,
    *,
    tenant_id: UUID | None,
    actor_id: UUID | None,
    action: str | None,
    since: datetime | None,
    until: datetime | None,
    before: UUID | None,
    limit: int,
) -> list[AuditEntry]:
    """The operator's view. Of an operator who acted as somebody, and of that person, both find it."""
    statement = select(AuditEntry)
    if tenant_id is not None:
        statement = statement.where(AuditEntry.tenant_id == tenant_id)
    if actor_id is not None:
        statement = statement.where((AuditEntry.actor_id == actor_id) | (AuditEntry.acting_as == actor_id))
    if since is not None:
        statement = statement.where(AuditEntry.id >= first_id(since))
    if until is not None:
        statement = statement.where(AuditEntry.id < first_id(until))
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    return _page(session, statement, before, limit)


@serves_every_tenant
def forget_addresses_of(session: Session, user_id: UUID) -> int:
    """A person's, in all their tenants."""
    statement = update(AuditEntry).where(
        AuditEntry.address.is_not(None), (AuditEntry.actor_id == user_id) | (AuditEntry.acting_as == user_id)
    )
    return _forget(session, statement)


@serves_every_tenant
def forget_addresses(session: Session, older_seconds: float) -> int:
    statement = update(AuditEntry).where(
        AuditEntry.address.is_not(None), AuditEntry.created_at < database_now(-older_seconds)
    )
    return _forget(session, statement)


def _forget(session: Session, statement: Update) -> int:
    forgotten = session.execute(statement.values(address=None).execution_options(synchronize_session=False))
    return int(forgotten.rowcount)  # type: ignore[attr-defined]


def _page(session: Session, statement: Select[AuditEntry], before: UUID | None, limit: int) -> list[AuditEntry]:
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return list(session.scalars(statement.order_by(AuditEntry.id.desc()).limit(limit)))
