"""Webhooks: a tenant's URLs that hear of its tasks and credits, and URLs that were given for one task.

A message is a row for each webhook, written in the transaction of what it tells of: told if and only if it
happened. The workers send it later (`backend.webhook.outbox`).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.clock import database_now, utc_now
from backend.credit import service as credit
from backend.identity import new_id
from backend.models import Task, Webhook, WebhookAttempt, WebhookDelivery
from backend.problem import Problem
from backend.settings.webhook import Webhook as WebhookSettings
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.webhook import repository, signature
from backend.webhook.address import WebhookUrlRefused, check_url

EventKind = Literal["task.completed", "task.failed", "task.cancelled", "credits.low"]
EVENTS: tuple[EventKind, ...] = get_args(EventKind)
OF_TASKS = tuple(event for event in EVENTS if event.startswith("task."))
TEST = "webhook.test"


class WebhookNotFound(Problem):
    status = 404
    code = "webhook_not_found"
    detail = "There is no such webhook."
    advice = "Check the id; GET /api/v1/webhooks lists yours."


class TaskWebhookRefused(WebhookUrlRefused):
    field = "webhook"


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


def create(
    session: Session,
    actor: Actor,
    settings: WebhookSettings,
    scope: Scope,
    url: str,
    events: Collection[str],
    description: str,
) -> Webhook:
    """Raises WebhookUrlRefused, TooManyWebhooks, MembershipEnded."""
    tenants.require_member(session, scope)
    tenant_id = scope.tenant_id
    check_url(settings, url)
    if repository.count(session, tenant_id) >= settings.max_per_tenant:
        raise TooManyWebhooks(f"You have {settings.max_per_tenant} webhooks, and more are not allowed.")
    webhook = Webhook(tenant_id=tenant_id, url=url, description=description, secret=signature.new_secret())
    webhook.events = _in_order(events)
    repository.add(session, webhook)
    _record(session, actor, "webhook.made", webhook, events=webhook.events)
    return webhook


def check_task_url(settings: WebhookSettings, url: str) -> None:
    """A URL that was given with an order; raises TaskWebhookRefused."""
    try:
        check_url(settings, url)
    except WebhookUrlRefused as refused:
        raise TaskWebhookRefused(str(refused)) from None


def create_for_tasks(session: Session, tasks: Sequence[Task], url: str, secret: str | None) -> str:
    """Each of these tasks, and nothing else, is told to a URL that was checked; the secret that signs.

    A webhook for each task: one that fails holds up no other. They don't count as the tenant's, and go with their log.
    """
    secret = secret or signature.new_secret()
    rows = [
        Webhook(tenant_id=task.tenant_id, task_id=task.id, url=url, events=list(OF_TASKS), secret=secret)
        for task in tasks
    ]
    repository.add(session, *rows)
    return secret


def pass_on(session: Session, old: Task, new: Task) -> None:
    """A task that is repeated is told to the URL of the first one too, signed with the same secret."""
    webhook = repository.of_task(session, old.tenant_id, old.id)
    if webhook is not None:
        create_for_tasks(session, [new], webhook.url, webhook.secret)


def every(session: Session, tenant_id: UUID, task_id: UUID | None) -> list[Webhook]:
    """The tenant's, or the one that was given for a task."""
    if task_id is None:
        return repository.every(session, tenant_id)
    webhook = repository.of_task(session, tenant_id, task_id)
    return [] if webhook is None else [webhook]


def get(session: Session, tenant_id: UUID, webhook_id: UUID, *, lock: bool = False) -> Webhook:
    """Raises WebhookNotFound, for a stranger's as for none."""
    if (webhook := repository.get(session, tenant_id, webhook_id, lock=lock)) is None:
        raise WebhookNotFound
    return webhook


def change(
    session: Session,
    actor: Actor,
    settings: WebhookSettings,
    webhook: Webhook,
    *,
    url: str | None,
    events: Collection[str] | None,
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
    _record(
        session, actor, "webhook.changed", webhook, events=webhook.events, enabled=enabled, url_changed=url is not None
    )


def rotate(session: Session, actor: Actor, settings: WebhookSettings, webhook: Webhook) -> tuple[str, datetime]:
    """A new secret, and until when the old one signs too."""
    webhook.previous_secret, webhook.secret = webhook.secret, signature.new_secret()
    webhook.previous_until = database_now(settings.rotation_seconds)
    session.flush()
    session.refresh(webhook, ["previous_until"])
    assert webhook.previous_until is not None
    _record(session, actor, "webhook.secret_rotated", webhook)
    return webhook.secret, webhook.previous_until


def delete(session: Session, actor: Actor, tenant_id: UUID, webhook_id: UUID) -> None:
    """Raises WebhookNotFound."""
    if not repository.remove(session, tenant_id, webhook_id):
        raise WebhookNotFound
    audit.record(session, actor, "webhook.removed", tenant_id=tenant_id, target=webhook_id)


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
    if (found := repository.delivery(session, tenant_id, webhook_id, delivery_id)) is None:
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
    announce(session, task.tenant_id, f"task.{task.status}", task.finished_at, data, task.id)


def announce(
    session: Session, tenant_id: UUID, kind: str, at: datetime, data: dict[str, Any], task_id: UUID | None = None
) -> None:
    """A message for every webhook of the tenant, and of this task, that wants to hear of it."""
    webhooks = [webhook for webhook in repository.listening(session, tenant_id, task_id) if kind in webhook.events]
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


def _record(session: Session, actor: Actor, action: str, webhook: Webhook, **after: Any) -> None:
    audit.record(session, actor, action, tenant_id=webhook.tenant_id, target=webhook.id, after=after or None)


def _in_order(events: Collection[str]) -> list[str]:
    return [event for event in EVENTS if event in events]


def _text(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")
