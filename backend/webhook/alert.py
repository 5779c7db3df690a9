"""`credits.low`: told once when a tenant's credits fall below what it named, and again after they were up.

Nobody who moves credits has to think of it: the workers look.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.credit.service import shown
from backend.webhook import lease_repository, repository
from backend.webhook.service import announce


def any_due(session: Session) -> bool:
    """Whether `tell` has something to do."""
    return bool(lease_repository.low_credits(session))


def tell(session: Session) -> None:
    """Every tenant whose credits fell; of two workers that see the same, one writes."""
    for tenant_id, available, limit in lease_repository.low_credits(session):
        low = available < limit
        told_at = lease_repository.mark_told(session, tenant_id, low=low)
        if low and told_at is not None:
            data = {"credits": shown(available), "below": shown(limit)}
            announce(session, tenant_id, "credits.low", told_at, data)


def below(session: Session, tenant_id: UUID) -> int | None:
    """Millicredits below which `credits.low` is sent."""
    alert = repository.alert(session, tenant_id)
    return alert.below if alert else None


def set_below(session: Session, actor: Actor, tenant_id: UUID, below: int | None) -> None:
    """From now on: told anew even when they were below the old limit."""
    if below is None:
        repository.remove_alert(session, tenant_id)
    else:
        repository.set_alert(session, tenant_id, below)
    audit.record(session, actor, "credits_low.changed", tenant_id=tenant_id, after={"below": below})
