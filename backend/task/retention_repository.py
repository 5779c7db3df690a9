"""Songs and results that have been kept long enough, and rows whose files must go: of all tenants."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, literal, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.identity import first_id
from backend.models import Account, Task, Tenant, TenantLimit, Upload
from backend.models.task import FINISHED
from backend.tenant.scope import serves_every_tenant

UNFINISHED = ("queued", "processing")


@serves_every_tenant
def periods(session: Session, usual: int | None) -> list[int]:
    """In days; how long somebody's things are kept. A tenant that is suspended loses nothing meanwhile."""
    days = _days(usual)
    statement = select(days).select_from(Tenant).outerjoin(TenantLimit, TenantLimit.tenant_id == Tenant.id)
    return sorted(session.scalars(statement.where(days.is_not(None), *_standing()).distinct()))


@serves_every_tenant
def cutoff(session: Session, days: int) -> datetime:
    return session.scalars(select(database_now())).one() - timedelta(days=days)


@serves_every_tenant
def due_tasks(
    session: Session, days: int, usual: int | None, before: datetime, limit: int
) -> Sequence[tuple[UUID, UUID, str]]:
    """(id, tenant, name of the song) of finished tasks, which are ours until the transaction ends.

    By way of the accounts, of which each person has one in each tenant: so the index of kept tasks, which is by
    person, is entered at their oldest, and nothing else is read.
    """
    statement = _of_people(select(Task.id, Task.tenant_id, Task.source_name), Task, days, usual).where(
        Task.deleted_at.is_(None), Task.id < first_id(before), Task.status.in_(FINISHED), Task.finished_at < before
    )
    rows = session.execute(statement.limit(limit).with_for_update(skip_locked=True, of=Task))
    return [(task_id, tenant_id, name) for task_id, tenant_id, name in rows]


@serves_every_tenant
def due_uploads(
    session: Session, days: int, usual: int | None, before: datetime, limit: int
) -> Sequence[tuple[UUID, UUID, str]]:
    """(id, tenant, key) of songs that nothing unfinished needs, which are ours until the transaction ends."""
    needed = select(Task.id).where(
        Task.tenant_id == Upload.tenant_id, Task.upload_id == Upload.id, Task.status.in_(UNFINISHED)
    )
    statement = _of_people(select(Upload.id, Upload.tenant_id, Upload.storage_key), Upload, days, usual).where(
        Upload.deleted_at.is_(None),
        Upload.sample.is_(False),
        Upload.id < first_id(before),
        Upload.created_at < before,
        ~needed.exists(),
    )
    rows = session.execute(statement.limit(limit).with_for_update(skip_locked=True, of=Upload)).all()
    # Asked again now that nobody can order them: an order may have been written before they were locked.
    ids, tenants = {row[0] for row in rows}, {row[1] for row in rows}
    late = set(
        session.scalars(
            select(Task.upload_id).where(
                Task.tenant_id.in_(tenants), Task.upload_id.in_(ids), Task.status.in_(UNFINISHED)
            )
        )
    )
    return [(upload_id, tenant_id, key) for upload_id, tenant_id, key in rows if upload_id not in late]


@serves_every_tenant
def mark_deleted(session: Session, tasks: Collection[UUID], uploads: Collection[UUID]) -> None:
    for table, ids in ((Task, tasks), (Upload, uploads)):
        session.execute(update(table).where(table.id.in_(ids)).values(deleted_at=database_now()))


@serves_every_tenant
def deleted(session: Session, table: type[Task] | type[Upload], ids: Sequence[UUID]) -> set[UUID]:
    found: set[UUID] = set()
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        found |= set(session.scalars(select(table.id).where(table.id.in_(part), table.deleted_at.is_not(None))))
    return found


def _of_people(statement: Any, table: type[Task] | type[Upload], days: int, usual: int | None) -> Any:
    return (
        statement.select_from(Account)
        .join(Tenant, Tenant.id == Account.tenant_id)
        .outerjoin(TenantLimit, TenantLimit.tenant_id == Account.tenant_id)
        .join(table, (table.tenant_id == Account.tenant_id) & (table.user_id == Account.user_id))
        .where(Account.kind == "available", _days(usual) == days, *_standing())
    )


def _standing() -> tuple[ColumnElement[bool], ...]:
    return Tenant.erased_at.is_(None), Tenant.suspended_at.is_(None)


def _days(usual: int | None) -> ColumnElement[Any]:
    """What the operator allows or the tenant wants, whichever is shorter."""
    own, most = Tenant.retention_days, func.coalesce(TenantLimit.retention_days, literal(usual))
    if usual is None:
        most = TenantLimit.retention_days  # type: ignore[assignment]
    return case((own.is_(None), most), (most.is_(None), own), (own < most, own), else_=most)
