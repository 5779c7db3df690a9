"""What a tenant may use, and what it has used. The sums are taken only where there is a limit, or somebody asks."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.identity import first_id
from backend.models import Artifact, Task, Tenant, TenantLimit, Upload
from backend.tenant.scope import in_tenant

UNCOUNTED = ("failed", "cancelled")


def get(session: Session, tenant_id: UUID) -> TenantLimit | None:
    return session.scalars(select(TenantLimit).where(in_tenant(TenantLimit, tenant_id))).one_or_none()


def tenant(session: Session, tenant_id: UUID, *, lock: bool = False) -> Tenant | None:
    """`lock`: who counts against a limit, or changes the tenant, waits here for the one before."""
    statement = select(Tenant).where(Tenant.id == tenant_id)
    if lock:
        statement = statement.with_for_update(key_share=True).execution_options(populate_existing=True)
    return session.scalars(statement).one_or_none()


def change(session: Session, tenant_id: UUID, values: dict[str, Any]) -> None:
    """In the caller's lock of the tenant."""
    row = get(session, tenant_id)
    if row is None:
        session.add(TenantLimit(tenant_id=tenant_id, **values))
    else:
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()


def suspend(session: Session, tenant_id: UUID, reason: str) -> None:
    session.execute(
        update(Tenant).where(Tenant.id == tenant_id).values(suspended_at=database_now(), suspended_reason=reason)
    )


def resume(session: Session, tenant_id: UUID) -> None:
    session.execute(update(Tenant).where(Tenant.id == tenant_id).values(suspended_at=None, suspended_reason=None))


def now(session: Session) -> datetime:
    return session.scalars(select(database_now())).one()


def submitted_seconds(session: Session, tenant_id: UUID, since: datetime, slack: datetime) -> float:
    """Of audio; the id's range is what the index knows, and `slack` what a clock may be wrong."""
    statement = select(func.coalesce(func.sum(Task.seconds), 0.0)).where(
        in_tenant(Task, tenant_id),
        Task.id >= first_id(slack),
        Task.created_at >= since,
        Task.status.not_in(UNCOUNTED),
    )
    return float(session.scalars(statement).one())


def stored_bytes(session: Session, tenant_id: UUID) -> int:
    """Of songs and results that are kept. Songs of the same content share a file, which counts once. A song of the
    sample library is everybody's and counts for nobody.
    """
    files = (
        select(func.max(Upload.size).label("size"))
        .where(in_tenant(Upload, tenant_id), Upload.deleted_at.is_(None), Upload.sample.is_(False))
        .group_by(Upload.storage_key)
        .subquery()
    )
    songs = select(func.coalesce(func.sum(files.c.size), 0))
    results = (
        select(func.coalesce(func.sum(Artifact.size), 0))
        .join(Task, (Task.tenant_id == Artifact.tenant_id) & (Task.id == Artifact.task_id))
        .where(in_tenant(Task, tenant_id), Task.deleted_at.is_(None))
    )
    return int(session.scalars(songs).one()) + int(session.scalars(results).one())


def count_tasks(session: Session, tenant_id: UUID, status: str) -> int:
    statement = select(func.count()).select_from(Task).where(in_tenant(Task, tenant_id), Task.status == status)
    return session.scalars(statement).one()
