from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Account, PaymentEvent, Purchase
from backend.tenant.scope import Scope, in_scope, serves_every_tenant


def add(session: Session, purchase: Purchase) -> None:
    session.add(purchase)
    session.flush()


def get(session: Session, scope: Scope, purchase_id: UUID) -> Purchase | None:
    return session.scalars(select(Purchase).where(in_scope(Purchase, scope), Purchase.id == purchase_id)).one_or_none()


def page(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Purchase]:
    """Newest first, from after `before`."""
    statement = select(Purchase).where(in_scope(Purchase, scope)).order_by(Purchase.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Purchase.id < before)
    return list(session.scalars(statement))


@serves_every_tenant
def lock(session: Session, provider: str, purchase_id: UUID) -> Purchase | None:
    """The purchase that a provider speaks of: it knows no tenants."""
    return session.scalars(
        select(Purchase).where(Purchase.id == purchase_id, Purchase.provider == provider).with_for_update()
    ).one_or_none()


@serves_every_tenant
def lock_owing(session: Session, limit: int) -> list[Purchase]:
    """Those of which something is missing, and whose tenant has something; none that is just being paid back."""
    has = select(Account.id).where(
        Account.tenant_id == Purchase.tenant_id, Account.kind == "available", Account.balance > 0
    )
    statement = select(Purchase).where(Purchase.shortfall > 0, has.exists()).order_by(Purchase.id).limit(limit)
    return list(session.scalars(statement.with_for_update(skip_locked=True, of=Purchase)))


@serves_every_tenant
def shortfall(session: Session, tenant_id: UUID | None) -> int:
    statement = select(func.coalesce(func.sum(Purchase.shortfall), 0)).where(Purchase.shortfall > 0)
    if tenant_id is not None:
        statement = statement.where(Purchase.tenant_id == tenant_id)
    return int(session.scalars(statement).one())


def note_message(session: Session, provider: str, message_id: str) -> bool:
    """False when it was acted upon before. One that is just being acted upon is waited for."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = (
        dialect.insert(PaymentEvent)
        .values(provider=provider, event_id=message_id, created_at=database_now())
        .on_conflict_do_nothing()
        .returning(PaymentEvent.event_id)
    )
    return session.scalars(statement).one_or_none() is not None


def forget_messages(session: Session, older_seconds: float) -> None:
    session.execute(delete(PaymentEvent).where(PaymentEvent.created_at < database_now(-older_seconds)))
