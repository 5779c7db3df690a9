"""Deliveries, and alerts of credits, as the workers see them: whose they are does not matter here.

Results are written by one statement guarded by the attempt's number: who comes late changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session, aliased

from backend.clock import database_now
from backend.models import Account, CreditAlert, Task, Webhook, WebhookAttempt, WebhookDelivery
from backend.tenant.scope import serves_every_tenant

PER_TENANT = 4
"""Deliveries of a tenant at once, so that its slow receivers don't take every place."""


@serves_every_tenant
def any_due(session: Session) -> bool:
    return session.scalars(select(WebhookDelivery.id).join(*_ITS_WEBHOOK).where(*_due()).limit(1)).first() is not None


@serves_every_tenant
def claim(session: Session, lease_seconds: float) -> WebhookDelivery | None:
    """The one that is due longest, with one attempt more; one at a time for each webhook."""
    busy = aliased(WebhookDelivery)
    now = select(database_now()).scalar_subquery()
    # Not correlated, so each is asked once and not for every row that is due.
    under_way = (busy.lease_until.is_not(None), busy.lease_until >= now)
    busy_webhooks = select(busy.webhook_id).where(*under_way)
    busy_tenants = select(busy.tenant_id).where(*under_way).group_by(busy.tenant_id).having(func.count() >= PER_TENANT)
    following = (
        select(WebhookDelivery.id)
        .join(*_ITS_WEBHOOK)
        .where(
            *_due(),
            WebhookDelivery.webhook_id.not_in(busy_webhooks),
            WebhookDelivery.tenant_id.not_in(busy_tenants),
        )
        .order_by(WebhookDelivery.next_at)
        .limit(1)
        .with_for_update(skip_locked=True, of=WebhookDelivery)
        .scalar_subquery()
    )
    return session.scalars(
        update(WebhookDelivery)
        .where(WebhookDelivery.id == following, WebhookDelivery.status == "pending")
        .values(
            attempt=WebhookDelivery.attempt + 1,
            tries=WebhookDelivery.tries + 1,
            lease_until=database_now(lease_seconds),
            claimed_at=database_now(),
        )
        .returning(WebhookDelivery),
        execution_options={"populate_existing": True},
    ).one_or_none()


@serves_every_tenant
def webhook(session: Session, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
    statement = select(Webhook).where(Webhook.id == webhook_id)
    return session.scalars(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


@serves_every_tenant
def settle(
    session: Session, delivery_id: UUID, attempt: int, *, status: str, again_seconds: float | None
) -> WebhookDelivery | None:
    """None when the attempt is not the current one any more: nothing was changed."""
    done = again_seconds is None
    return session.scalars(
        update(WebhookDelivery)
        .where(*_current(delivery_id, attempt))
        .values(
            status=status,
            lease_until=None,
            next_at=None if again_seconds is None else database_now(again_seconds),
            finished_at=database_now() if done else None,
        )
        .returning(WebhookDelivery),
        execution_options={"populate_existing": True},
    ).one_or_none()


@serves_every_tenant
def give_back(session: Session, delivery_id: UUID, attempt: int) -> None:
    """As if it had not been tried; the attempt's number stays used."""
    session.execute(
        update(WebhookDelivery)
        .where(*_current(delivery_id, attempt))
        .values(lease_until=None, tries=WebhookDelivery.tries - 1)
    )


@serves_every_tenant
def record(session: Session, attempt: WebhookAttempt) -> None:
    session.add(attempt)
    session.flush()


@serves_every_tenant
def went_well(session: Session, webhook_id: UUID) -> None:
    session.execute(
        update(Webhook).where(Webhook.id == webhook_id, Webhook.failing_since.is_not(None)).values(failing_since=None)
    )


@serves_every_tenant
def went_badly(session: Session, webhook_id: UUID) -> None:
    session.execute(
        update(Webhook)
        .where(Webhook.id == webhook_id, Webhook.failing_since.is_(None))
        .values(failing_since=database_now())
    )


@serves_every_tenant
def switch_off(session: Session, webhook_id: UUID, reason: str, *, failing_seconds: float = 0) -> bool:
    """When it has failed for so long; whether it did."""
    return (
        session.scalars(
            update(Webhook)
            .where(
                Webhook.id == webhook_id,
                Webhook.disabled_at.is_(None),
                Webhook.failing_since <= database_now(-failing_seconds),
            )
            .values(disabled_at=database_now(), disabled_reason=reason)
            .returning(Webhook.id)
        ).one_or_none()
        is not None
    )


@serves_every_tenant
def forget_old(session: Session, seconds: float) -> None:
    """Old deliveries, and webhooks of single tasks that are over and have none left."""
    session.execute(delete(WebhookDelivery).where(WebhookDelivery.created_at < database_now(-seconds)))
    deliveries = select(WebhookDelivery.id).where(WebhookDelivery.webhook_id == Webhook.id)
    tasks = select(Task.id).where(Task.id == Webhook.task_id, Task.finished_at.is_(None))
    session.execute(
        delete(Webhook)
        .where(
            Webhook.task_id.is_not(None),
            Webhook.created_at < database_now(-seconds),
            ~deliveries.exists(),
            ~tasks.exists(),
        )
        .execution_options(synchronize_session=False)
    )


@serves_every_tenant
def low_credits(session: Session) -> Sequence[tuple[UUID, int, int]]:
    """(tenant, millicredits, below how many it wants to hear): fallen and not told, or told and up again."""
    available = func.coalesce(func.sum(Account.balance), 0)
    statement = (
        select(CreditAlert.tenant_id, available, CreditAlert.below)
        .outerjoin(Account, (Account.tenant_id == CreditAlert.tenant_id) & (Account.kind == "available"))
        .group_by(CreditAlert.tenant_id, CreditAlert.below, CreditAlert.told_at)
        .having((available < CreditAlert.below) == CreditAlert.told_at.is_(None))
    )
    return [(tenant_id, int(balance), below) for tenant_id, balance, below in session.execute(statement)]


@serves_every_tenant
def mark_told(session: Session, tenant_id: UUID, *, low: bool) -> datetime | None:
    """That it was told, or that it is to be told again. When; None when somebody else was faster."""
    told = CreditAlert.told_at
    return session.execute(
        update(CreditAlert)
        .where(CreditAlert.tenant_id == tenant_id, told.is_(None) if low else told.is_not(None))
        .values(told_at=database_now() if low else None)
        .returning(told)
    ).scalar_one_or_none()


_ITS_WEBHOOK = (Webhook, Webhook.id == WebhookDelivery.webhook_id)


def _due() -> tuple[ColumnElement[bool], ...]:
    # The clock in a query of its own is read once, so that PostgreSQL may look its value up in the index.
    now = select(database_now()).scalar_subquery()
    return (
        WebhookDelivery.status == "pending",
        WebhookDelivery.next_at <= now,
        WebhookDelivery.lease_until.is_(None) | (WebhookDelivery.lease_until < now),
        Webhook.disabled_at.is_(None),
    )


def _current(delivery_id: UUID, attempt: int) -> tuple[ColumnElement[bool], ...]:
    return (
        WebhookDelivery.id == delivery_id,
        WebhookDelivery.attempt == attempt,
        WebhookDelivery.lease_until.is_not(None),
    )
