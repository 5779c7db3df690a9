"""Webhooks and their deliveries as their tenant sees them. Claims and results are in `lease_repository`."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import CreditAlert, Webhook, WebhookAttempt, WebhookDelivery
from backend.tenant.scope import in_tenant


def add(session: Session, *rows: object) -> None:
    session.add_all(rows)
    session.flush()


def get(session: Session, tenant_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook | None:
    """`lock`: nobody else changes it until the transaction ends."""
    statement = select(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.id == webhook_id)
    return session.scalars(statement.with_for_update(key_share=True) if lock else statement).one_or_none()


def of_task(session: Session, tenant_id: UUID, task_id: UUID) -> Webhook | None:
    """The one that was given for this task alone."""
    return session.scalars(
        select(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.task_id == task_id)
    ).one_or_none()


def every(session: Session, tenant_id: UUID) -> list[Webhook]:
    """Those of the tenant, without those of single tasks."""
    statement = select(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.task_id.is_(None))
    return list(session.scalars(statement.order_by(Webhook.id)))


def count(session: Session, tenant_id: UUID) -> int:
    statement = (
        select(func.count()).select_from(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.task_id.is_(None))
    )
    return session.scalar(statement) or 0


def listening(session: Session, tenant_id: UUID, task_id: UUID | None) -> list[Webhook]:
    """Those of the tenant and of this task that are switched on, kept from being removed until the transaction ends.

    Otherwise one that is removed in between would make the transaction that tells it of a task fail.
    """
    return list(
        session.scalars(
            select(Webhook)
            .where(
                in_tenant(Webhook, tenant_id),
                Webhook.task_id.is_(None) | (Webhook.task_id == task_id),
                Webhook.disabled_at.is_(None),
            )
            .order_by(Webhook.id)
            .with_for_update(read=True, key_share=True)
        )
    )


def remove(session: Session, tenant_id: UUID, webhook_id: UUID) -> bool:
    """With its deliveries and their log, by the database's cascade."""
    gone = session.scalars(
        delete(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.id == webhook_id).returning(Webhook.id)
    )
    return gone.one_or_none() is not None


def remove_all(session: Session, tenant_id: UUID) -> None:
    session.execute(delete(Webhook).where(in_tenant(Webhook, tenant_id)))
    session.execute(delete(CreditAlert).where(in_tenant(CreditAlert, tenant_id)))


def deliveries(
    session: Session, tenant_id: UUID, webhook_id: UUID, *, status: str | None, before: UUID | None, limit: int
) -> list[WebhookDelivery]:
    """Newest first; `before` is the id of the last one already seen."""
    statement = (
        select(WebhookDelivery)
        .where(in_tenant(WebhookDelivery, tenant_id), WebhookDelivery.webhook_id == webhook_id)
        .order_by(WebhookDelivery.id.desc())
        .limit(limit)
    )
    if status is not None:
        statement = statement.where(WebhookDelivery.status == status)
    if before is not None:
        statement = statement.where(WebhookDelivery.id < before)
    return list(session.scalars(statement))


def delivery(
    session: Session, tenant_id: UUID, webhook_id: UUID, delivery_id: UUID, *, lock: bool = False
) -> WebhookDelivery | None:
    statement = select(WebhookDelivery).where(
        in_tenant(WebhookDelivery, tenant_id),
        WebhookDelivery.webhook_id == webhook_id,
        WebhookDelivery.id == delivery_id,
    )
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def attempts(session: Session, tenant_id: UUID, delivery_id: UUID) -> list[WebhookAttempt]:
    return list(
        session.scalars(
            select(WebhookAttempt)
            .where(in_tenant(WebhookAttempt, tenant_id), WebhookAttempt.delivery_id == delivery_id)
            .order_by(WebhookAttempt.number)
        )
    )


def alert(session: Session, tenant_id: UUID) -> CreditAlert | None:
    return session.scalars(select(CreditAlert).where(in_tenant(CreditAlert, tenant_id))).one_or_none()


def set_alert(session: Session, tenant_id: UUID, below: int) -> None:
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(CreditAlert).values(tenant_id=tenant_id, below=below, created_at=database_now())
    session.execute(
        statement.on_conflict_do_update(index_elements=["tenant_id"], set_={"below": below, "told_at": None})
    )


def remove_alert(session: Session, tenant_id: UUID) -> None:
    session.execute(delete(CreditAlert).where(in_tenant(CreditAlert, tenant_id)))
