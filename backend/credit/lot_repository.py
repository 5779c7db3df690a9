"""Credits that expire. Whoever changes lots holds the lock of their owner's account."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Account, CreditLot, CreditLotUse
from backend.tenant.scope import Scope, in_scope, in_tenant, serves_every_tenant


def in_days(session: Session, days: float) -> datetime:
    """By the database's clock."""
    moment: datetime | None = session.scalar(select(database_now(days * 86_400)))
    assert moment is not None
    return moment


def add(session: Session, scope: Scope, transfer_id: UUID, amount: int, expires_at: datetime) -> None:
    lot = CreditLot(tenant_id=scope.tenant_id, transfer_id=transfer_id, remaining=amount, expires_at=expires_at)
    assert scope.user_id is not None
    lot.user_id = scope.user_id
    session.add(lot)
    session.flush()


def left(session: Session, scope: Scope, limit: int, *, expired_too: bool) -> list[CreditLot]:
    """Those with something in them, the soonest to expire first."""
    statement = (
        select(CreditLot)
        .where(in_scope(CreditLot, scope), CreditLot.remaining > 0)
        .order_by(CreditLot.expires_at, CreditLot.id)
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement if expired_too else statement.where(~_due())))


def covered(session: Session, scope: Scope) -> bool:
    """Whether a person has at least what expired of theirs and was not taken yet."""
    expired = select(func.coalesce(func.sum(CreditLot.remaining), 0)).where(
        in_scope(CreditLot, scope), CreditLot.remaining > 0, _due()
    )
    enough = Account.balance >= expired.scalar_subquery()
    statement = select(Account.id).where(in_scope(Account, scope), Account.kind == "available", enough)
    return session.scalars(statement).one_or_none() is not None


def expiring(session: Session, scope: Scope, limit: int) -> list[tuple[int, datetime]]:
    """(how much, when), the soonest first."""
    rows = session.execute(
        select(func.sum(CreditLot.remaining), CreditLot.expires_at)
        .where(in_scope(CreditLot, scope), CreditLot.remaining > 0, ~_due())
        .group_by(CreditLot.expires_at)
        .order_by(CreditLot.expires_at)
        .limit(limit)
    )
    return [(int(amount), moment) for amount, moment in rows]


def change(session: Session, tenant_id: UUID, lot_id: UUID, by: int) -> None:
    statement = update(CreditLot).where(in_tenant(CreditLot, tenant_id), CreditLot.id == lot_id)
    session.execute(statement.values(remaining=CreditLot.remaining + by).execution_options(synchronize_session=False))


def note_use(session: Session, tenant_id: UUID, task_id: UUID, lot_id: UUID, amount: int) -> None:
    session.add(CreditLotUse(tenant_id=tenant_id, task_id=task_id, lot_id=lot_id, amount=amount))
    session.flush()


def uses(session: Session, tenant_id: UUID, task_id: UUID) -> list[CreditLotUse]:
    return list(
        session.scalars(select(CreditLotUse).where(in_tenant(CreditLotUse, tenant_id), CreditLotUse.task_id == task_id))
    )


@serves_every_tenant
def owners_of_due(session: Session, limit: int) -> list[Scope]:
    """Whose credits have expired, by the database's clock."""
    due = (
        select(CreditLot.tenant_id, CreditLot.user_id)
        .where(CreditLot.remaining > 0, _due())
        .order_by(CreditLot.expires_at)
        .limit(limit)
        .subquery()
    )
    return [Scope(tenant, user) for tenant, user in session.execute(select(due.c.tenant_id, due.c.user_id).distinct())]


def empty_due(session: Session, scope: Scope) -> int:
    """Take what has expired out of a person's lots; how much it was."""
    lots = session.execute(
        select(CreditLot.id, CreditLot.remaining).where(in_scope(CreditLot, scope), CreditLot.remaining > 0, _due())
    ).all()
    for lot_id, remaining in lots:
        change(session, scope.tenant_id, lot_id, -remaining)
    return sum(remaining for _, remaining in lots)


def _due() -> ColumnElement[bool]:
    # The clock in a query of its own is read once for all rows.
    return CreditLot.expires_at <= select(database_now()).scalar_subquery()
