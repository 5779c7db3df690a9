from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from backend.models import Purchase, Task, WebhookDelivery
from backend.tenant.scope import serves_every_tenant


@serves_every_tenant
def tasks(session: Session, statuses: Collection[str]) -> dict[str, int]:
    """How many there are of each of these."""
    statement = select(Task.status, func.count().label("number")).where(Task.status.in_(statuses)).group_by(Task.status)
    return {row.status: row.number for row in session.execute(statement)}


@serves_every_tenant
def pending_deliveries(session: Session) -> int:
    return session.scalar(select(func.count()).where(WebhookDelivery.status == "pending")) or 0


@serves_every_tenant
def shortfall(session: Session) -> int:
    """Millicredits that are missing of all purchases that were paid back."""
    return int(session.scalar(select(func.sum(Purchase.shortfall)).where(Purchase.shortfall > 0)) or 0)
