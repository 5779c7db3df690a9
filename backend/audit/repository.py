from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

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
    before: UUID | None,
    limit: int,
) -> list[AuditEntry]:
    """The operator's view."""
    statement = select(AuditEntry)
    for column, value in ((AuditEntry.tenant_id, tenant_id), (AuditEntry.actor_id, actor_id)):
        if value is not None:
            statement = statement.where(column == value)
    if action is not None:
        statement = statement.where(AuditEntry.action == action)
    return _page(session, statement, before, limit)


@serves_every_tenant
def forget_addresses(session: Session, *, actor_id: UUID | None, until: datetime | None) -> int:
    """A person's, in all their tenants; or everybody's of long ago."""
    statement = update(AuditEntry).where(AuditEntry.address.is_not(None)).values(address=None)
    if actor_id is not None:
        statement = statement.where((AuditEntry.actor_id == actor_id) | (AuditEntry.acting_as == actor_id))
    if until is not None:
        statement = statement.where(AuditEntry.created_at < until)
    forgotten: int = session.execute(statement).rowcount  # type: ignore[attr-defined]
    return forgotten


def _page(session: Session, statement: Select[AuditEntry], before: UUID | None, limit: int) -> list[AuditEntry]:
    if before is not None:
        statement = statement.where(AuditEntry.id < before)
    return list(session.scalars(statement.order_by(AuditEntry.id.desc()).limit(limit)))
