"""Webhooks: a tenant's URLs that hear of its tasks and credits.

A message is a row for each webhook, written in the transaction of what it tells of: told if and only if it
happened. The workers send it later (`backend.webhook.outbox`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy.orm import Session

from backend.clock import database_now, utc_now
from backend.credit import service as credit
from backend.identity import new_id
from backend.models import Task, Webhook, WebhookAttempt, WebhookDelivery
from backend.problem import Problem
from backend.settings.webhook import Webhook as WebhookSettings
from backend.tenant.scope import Scope
from backend.webhook import repository, signature
from backend.webhook.address import check_url

EventKind = Literal["task.completed", "task.failed", "task.cancelled", "credits.low"]
EVENTS: tuple[EventKind, ...] = get_args(EventKind)
TEST = "webhook.test"
MANAGERS = ("owner", "admin")


class WebhookNotFound(Problem):
    status = 404
    code = "webhook_not_found"
    detail = "There is no such webhook."
    advice = "Check the id; GET /api/v1/webhooks lists yours."


class DeliveryNotFound(Problem):
    status = 404
    code = "delivery_not_found"
    detail = "There is no such delivery."
    advice = "Check the id; GET /api/v1/webhooks/{id}/deliveries lists those that are kept."


class DeliveryPending(Problem):
    status = 409
    code = "delivery_pending"
    detail = "The delivery is still being tried."
    advice = "Wait until it is delivered or failed; its next_at says when it is tried next."


class WebhookDisabled(Problem):
    status = 409
    code = "webhook_disabled"
    detail = "The webhook is switched off."
    advice = 'Switch it on with PATCH /api/v1/webhooks/{id} {"enabled": true}.'


class TooManyWebhooks(Problem):
    status = 409
    code = "too_many_webhooks"
    detail = "You have as many webhooks as you may."
    advice = "Delete one that you don't need."


class NotForMembers(Problem):
    status = 403
    code = "role_insufficient"
    detail = "Only owners and admins see and change webhooks."
    advice = "Ask an owner or admin of your tenant."


def require_manager(role: str) -> None:
    """Webhooks hear of everybody's tasks; raises NotForMembers."""
    if role not in MANAGERS:
        raise NotForMembers


def create(
    session: Session, settings: WebhookSettings, tenant_id: UUID, url: str, events: Iterable[str], description: str
) -> Webhook:
    """Raises WebhookUrlRefused, TooManyWebhooks."""
    check_url(settings, url)
    if repository.count(session, tenant_id) >= settings.max_per_tenant:
        raise TooManyWebhooks(f"You have {settings.max_per_tenant} webhooks, and more are not allowed.")
    webhook = Webhook(tenant_id=tenant_id, url=url, description=description, secret=signature.new_secret())
    webhook.events = _in_order(events)
    repository.add(session, webhook)
    return webhook


def every(session: Session, tenant_id: UUID) -> list[Webhook]:
    return repository.every(session, tenant_id)


def get(session: Session, tenant_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """Raises WebhookNotFound, for a stranger's as for none."""
    webhook = repository.get(session, tenant_id, webhook_id, lock=lock)
    if webhook is None:
        raise WebhookNotFound
    return webhook


def change(
    session: Session,
    settings: WebhookSettings,
    webhook: Webhook,
    *,
    url: str | None,
    events: Iterable[str] | None,
    description: str | None,
    enabled: bool | None,
) -> None:
    """What is None stays as it is. Switched on, a webhook gets what has waited for it. Raises WebhookUrlRefused."""
    if url is not None:
        check_url(settings, url)
        webhook.url, webhook.failing_since = url, None
    if events is not None:
        webhook.events = _in_order(events)
    if description is not None:
        webhook.description = description
    if enabled is True:
        webhook.disabled_at = webhook.disabled_reason = webhook.failing_since = None
    elif enabled is False and webhook.disabled_at is None:
        webhook.disabled_at, webhook.disabled_reason = utc_now(), "asked"
    session.flush()


def rotate(session: Session, settings: WebhookSettings, webhook: Webhook) -> tuple[str, datetime]:
    """A new secret, and until when the old one signs too."""
    webhook.previous_secret, webhook.secret = webhook.secret, signature.new_secret()
    webhook.previous_until = database_now(settings.rotation_seconds)
    session.flush()
    session.refresh(webhook, ["previous_until"])
    assert webhook.previous_until is not None
    return webhook.secret, webhook.previous_until


def delete(session: Session, tenant_id: UUID, webhook_id: UUID) -> None:
    """Raises WebhookNotFound."""
    if not repository.remove(session, tenant_id, webhook_id):
        raise WebhookNotFound


def forget_tenant(session: Session, tenant_id: UUID) -> None:
    """Everything of a tenant that is erased: its messages name songs."""
    repository.remove_all(session, tenant_id)


def deliveries(
    session: Session, webhook: Webhook, *, status: str | None, before: UUID | None, limit: int
) -> list[WebhookDelivery]:
    """Newest first, from after the delivery `before`."""
    return repository.deliveries(session, webhook.tenant_id, webhook.id, status=status, before=before, limit=limit)


def delivery(
    session: Session, tenant_id: UUID, webhook_id: UUID, delivery_id: UUID
) -> tuple[WebhookDelivery, list[WebhookAttempt]]:
    """With what became of each attempt; raises DeliveryNotFound."""
    found = repository.delivery(session, tenant_id, webhook_id, delivery_id)
    if found is None:
        raise DeliveryNotFound
    return found, repository.attempts(session, tenant_id, found.id)


def replay(session: Session, tenant_id: UUID, webhook_id: UUID, delivery_id: UUID) -> WebhookDelivery:
    """Send it again, as the same message.

    Raises WebhookNotFound, WebhookDisabled, DeliveryNotFound, DeliveryPending.
    """
    webhook = get(session, tenant_id, webhook_id, lock=True)
    found = repository.delivery(session, tenant_id, webhook_id, delivery_id, lock=True)
    if found is None:
        raise DeliveryNotFound
    if webhook.disabled_at is not None:
        raise WebhookDisabled
    if found.status == "pending":
        raise DeliveryPending
    found.status, found.tries, found.next_at, found.finished_at = "pending", 0, database_now(), None
    session.flush()
    session.refresh(found)
    return found


def send_test(session: Session, tenant_id: UUID, webhook_id: UUID) -> WebhookDelivery:
    """A message that says nothing, to see whether it arrives; raises WebhookNotFound, WebhookDisabled."""
    webhook = get(session, tenant_id, webhook_id, lock=True)
    if webhook.disabled_at is not None:
        raise WebhookDisabled
    return _send(session, [webhook], TEST, utc_now(), {"webhook_id": str(webhook.id)})[0]


def task_finished(session: Session, task: Task) -> None:
    """Called in the transaction that ends the task."""
    assert task.finished_at is not None
    data = {
        "task_id": str(task.id),
        "status": task.status,
        "user_id": str(task.user_id),
        "filename": task.source_name,
        "duration": task.seconds,
        "credits": credit.shown(task.price) if task.status == "completed" else 0.0,
        "error_code": task.error_code,
        "error_message": task.error_message,
        "created_at": _text(task.created_at),
        "finished_at": _text(task.finished_at),
    }
    _announce(session, task.tenant_id, f"task.{task.status}", task.finished_at, data)


def credits_spent(session: Session, tenant_id: UUID, amount: int) -> None:
    """Called after `amount` left the tenant's available credits, in the same transaction."""
    alert = repository.alert(session, tenant_id)
    if alert is None:
        return
    # Locked, then counted: of two people who spend at once, the second sees what the first has left.
    alert = repository.alert(session, tenant_id, lock=True)
    available, _ = credit.balance(session, Scope(tenant_id, None))
    if alert is None or available >= alert.below:
        return
    if alert.told_at is not None and available + amount < alert.below:
        return
    alert.told_at = utc_now()
    data = {"credits": credit.shown(available), "below": credit.shown(alert.below)}
    _announce(session, tenant_id, "credits.low", alert.told_at, data)


def alert_below(session: Session, tenant_id: UUID) -> int | None:
    """Millicredits below which `credits.low` is sent."""
    alert = repository.alert(session, tenant_id)
    return alert.below if alert else None


def set_alert(session: Session, tenant_id: UUID, below: int | None) -> None:
    """From now on: told anew even when they were below the old limit."""
    if below is None:
        repository.remove_alert(session, tenant_id)
    else:
        repository.set_alert(session, tenant_id, below)


def _announce(session: Session, tenant_id: UUID, kind: str, at: datetime, data: dict[str, Any]) -> None:
    webhooks = [webhook for webhook in repository.listening(session, tenant_id) if kind in webhook.events]
    _send(session, webhooks, kind, at, data)


def _send(
    session: Session, webhooks: Iterable[Webhook], kind: str, at: datetime, data: dict[str, Any]
) -> list[WebhookDelivery]:
    message_id = new_id()
    body = json.dumps({"type": kind, "timestamp": _text(at), "data": data}, ensure_ascii=False, separators=(",", ":"))
    rows = [
        WebhookDelivery(
            tenant_id=webhook.tenant_id,
            webhook_id=webhook.id,
            message_id=message_id,
            kind=kind,
            body=body,
            next_at=database_now(),
        )
        for webhook in webhooks
    ]
    repository.add(session, *rows)
    return rows


def _in_order(events: Iterable[str]) -> list[str]:
    wanted = set(events)
    return [event for event in EVENTS if event in wanted]


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
