from __future__ import annotations

from uuid import UUID

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Tenant, TenantInvitation
from backend.tenant.scope import in_tenant, serves_every_tenant

DAY_SECONDS = 86_400.0


def add(session: Session, row: TenantInvitation, seconds: float) -> None:
    row.expires_at = database_now(seconds)
    session.add(row)
    session.flush()
    session.refresh(row)


def listed(session: Session, tenant_id: UUID) -> list[TenantInvitation]:
    """Those that are still good, newest first."""
    statement = select(TenantInvitation).where(in_tenant(TenantInvitation, tenant_id), *_open())
    return list(session.scalars(statement.order_by(TenantInvitation.id.desc())))


def count_lately(session: Session, tenant_id: UUID) -> int:
    """Those that are still good, and all of the last day."""
    unused = TenantInvitation.accepted_at.is_(None) & TenantInvitation.revoked_at.is_(None)
    counted = (unused & (TenantInvitation.expires_at > database_now())) | (
        TenantInvitation.created_at > database_now(-DAY_SECONDS)
    )
    statement = select(func.count()).select_from(TenantInvitation).where(in_tenant(TenantInvitation, tenant_id))
    return session.scalars(statement.where(counted)).one()


def revoke(session: Session, tenant_id: UUID, which: ColumnElement[bool]) -> list[UUID]:
    statement = (
        update(TenantInvitation)
        .where(in_tenant(TenantInvitation, tenant_id), which, *_open())
        .values(revoked_at=database_now())
        .returning(TenantInvitation.id)
        .execution_options(synchronize_session=False)
    )
    return list(session.scalars(statement))


@serves_every_tenant
def revoke_all(session: Session, invited_by: UUID) -> None:
    """Everywhere: the person can do nothing any more."""
    session.execute(
        update(TenantInvitation)
        .where(TenantInvitation.invited_by == invited_by, *_open())
        .values(revoked_at=database_now())
        .execution_options(synchronize_session=False)
    )


@serves_every_tenant
def tenant_of(session: Session, sha256: str, email: str) -> UUID | None:
    """The code says which tenant it is for."""
    return session.scalars(select(TenantInvitation.tenant_id).where(*_good(sha256, email))).one_or_none()


@serves_every_tenant
def take(session: Session, sha256: str, email: str) -> TenantInvitation | None:
    """Of two that show it, one gets in. The code says which tenant it is for."""
    statement = (
        update(TenantInvitation)
        .where(*_good(sha256, email))
        .values(accepted_at=database_now())
        .returning(TenantInvitation)
    )
    return session.scalars(statement, execution_options={"synchronize_session": False}).one_or_none()


def _open() -> tuple[ColumnElement[bool], ...]:
    return (
        TenantInvitation.accepted_at.is_(None),
        TenantInvitation.revoked_at.is_(None),
        TenantInvitation.expires_at > database_now(),
    )


def _good(sha256: str, email: str) -> tuple[ColumnElement[bool], ...]:
    """For this address, into a tenant that works."""
    works = exists().where(
        Tenant.id == TenantInvitation.tenant_id, Tenant.suspended_at.is_(None), Tenant.erased_at.is_(None)
    )
    return TenantInvitation.sha256 == sha256, TenantInvitation.email == email, *_open(), works
