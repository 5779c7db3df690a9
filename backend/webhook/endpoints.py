from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from backend.auth.role import TenantAdmin
from backend.credit.service import shown
from backend.errors import describes
from backend.identity import PathId
from backend.models import Webhook, WebhookAttempt, WebhookDelivery
from backend.models.webhook_delivery import DeliveryStatus
from backend.paging import one_page
from backend.sessions import Reading, WiringOf, Writing
from backend.webhook import alert, service
from backend.webhook.schemas import (
    AttemptView,
    CreditsLow,
    DeliveryRecord,
    DeliveryView,
    NewSecret,
    NewWebhook,
    WebhookChange,
    WebhookOrder,
    WebhookView,
)

router = APIRouter(prefix="/webhooks", tags=["webhooks"], responses=describes(401, 403))

_ENABLE = 'Mend the receiver, then PATCH {"enabled": true}; what has waited is then sent.'
_NOTICES = {
    "failing": f"Switched off: nothing has got through for days. {_ENABLE}",
    "gone": f"Switched off: the receiver answered 410 Gone. {_ENABLE}",
}


class _WebhookId(StringConvertor):
    """Any text but the name of the route beside it: of that one no other method is there."""

    regex = "(?!credits-low$)[^/]+"


register_url_convertor("webhook", _WebhookId())


async def _tenant(caller: TenantAdmin) -> UUID:
    """Webhooks hear of everybody's tasks."""
    return caller.tenant_id


ManagedTenant = Annotated[UUID, Depends(_tenant)]


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(
        id=webhook.id,
        task_id=webhook.task_id,
        url=webhook.url,
        events=webhook.events,
        description=webhook.description,
        enabled=webhook.disabled_at is None,
        notice=_NOTICES.get(webhook.disabled_reason or ""),
        failing_since=webhook.failing_since,
        created_at=webhook.created_at,
    )


def _delivery_view(delivery: WebhookDelivery) -> DeliveryView:
    return DeliveryView(
        id=delivery.id,
        message_id=f"msg_{delivery.message_id.hex}",
        event=delivery.kind,
        status=delivery.status,
        attempts=delivery.attempt,
        next_at=delivery.next_at,
        created_at=delivery.created_at,
        finished_at=delivery.finished_at,
    )


def _attempt_view(attempt: WebhookAttempt) -> AttemptView:
    return AttemptView(
        number=attempt.number,
        at=attempt.created_at,
        status=attempt.status,
        milliseconds=attempt.milliseconds,
        error=attempt.error,
        response=attempt.response,
    )


@router.get("")
def webhooks(
    tenant: ManagedTenant,
    session: Reading,
    task_id: Annotated[UUID | None, Query(description="The webhook that was given with this task")] = None,
) -> list[WebhookView]:
    """Your tenant's webhooks, oldest first. A `notice` tells of one that was switched off.

    One that was given with a task is shown to who asks for it by `task_id`; its deliveries are looked at and
    replayed as those of any other.
    """
    return [_view(webhook) for webhook in service.every(session, tenant, task_id)]


@router.post("", status_code=201, responses=describes(409, 422))
def create(body: WebhookOrder, manager: TenantAdmin, session: Writing, wiring: WiringOf) -> NewWebhook:
    """Be told of events at a URL of yours, by messages signed as standardwebhooks.com says.

    The answer has the secret that verifies them; it is shown this once.
    """
    webhook = service.create(
        session,
        manager.actor,
        wiring.settings.webhook,
        manager.scope,
        body.url,
        body.events,
        body.description,
    )
    return NewWebhook(**_view(webhook).model_dump(), secret=webhook.secret)


# Before the routes with an id, which would take its name for one.
@router.get("/credits-low")
def credits_low(tenant: ManagedTenant, session: Reading) -> CreditsLow:
    """Below how many credits your webhooks hear `credits.low`."""
    below = alert.below(session, tenant)
    return CreditsLow(below=None if below is None else shown(below))


@router.put("/credits-low", responses=describes(422))
def set_credits_low(body: CreditsLow, manager: TenantAdmin, session: Writing) -> CreditsLow:
    """Say below how many credits; told once each time they fall below it."""
    alert.set_below(
        session, manager.actor, manager.tenant_id, None if body.below is None else round(body.below * 1_000)
    )
    return body


@router.get("/{webhook_id:webhook}", responses=describes(404))
def webhook(webhook_id: PathId, tenant: ManagedTenant, session: Reading) -> WebhookView:
    """One webhook, without its secret."""
    return _view(service.get(session, tenant, webhook_id))


@router.patch("/{webhook_id:webhook}", responses=describes(404, 422))
def change(
    webhook_id: PathId, body: WebhookChange, manager: TenantAdmin, session: Writing, wiring: WiringOf
) -> WebhookView:
    """Change it, switch it off, or on again after it was switched off."""
    webhook = service.get(session, manager.tenant_id, webhook_id, lock=True)
    service.change(session, manager.actor, wiring.settings.webhook, webhook, **body.model_dump())
    return _view(webhook)


@router.delete("/{webhook_id:webhook}", status_code=204, responses=describes(404))
def delete(webhook_id: PathId, manager: TenantAdmin, session: Writing) -> None:
    """Remove it with its deliveries and their log."""
    service.delete(session, manager.actor, manager.tenant_id, webhook_id)


@router.post("/{webhook_id}/secret", responses=describes(404))
def rotate(webhook_id: PathId, manager: TenantAdmin, session: Writing, wiring: WiringOf) -> NewSecret:
    """A new secret. For a day messages are signed with the old one too, so that none is refused meanwhile."""
    webhook = service.get(session, manager.tenant_id, webhook_id, lock=True)
    secret, until = service.rotate(session, manager.actor, wiring.settings.webhook, webhook)
    return NewSecret(secret=secret, previous_until=until)


@router.post("/{webhook_id}/test", status_code=202, responses=describes(404, 409))
def send_test(webhook_id: PathId, tenant: ManagedTenant, session: Writing) -> DeliveryView:
    """Send `webhook.test`; the delivery's log tells what became of it."""
    return _delivery_view(service.send_test(session, tenant, webhook_id))


@router.get("/{webhook_id}/deliveries", responses=describes(404, 422))
def deliveries(
    request: Request,
    response: Response,
    webhook_id: PathId,
    tenant: ManagedTenant,
    session: Reading,
    status: DeliveryStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    cursor: UUID | None = None,
) -> list[DeliveryView]:
    """What was sent or waits, newest first; the next page is in the `Link` header."""
    webhook = service.get(session, tenant, webhook_id)
    found = service.deliveries(session, webhook, status=status, before=cursor, limit=limit + 1)
    return [_delivery_view(row) for row in one_page(request, response, found, limit, lambda row: row.id)]


@router.get("/{webhook_id}/deliveries/{delivery_id}", responses=describes(404))
def delivery(webhook_id: PathId, delivery_id: PathId, tenant: ManagedTenant, session: Reading) -> DeliveryRecord:
    """One delivery: what is sent, and each attempt with the receiver's answer."""
    found, attempts = service.delivery(session, tenant, webhook_id, delivery_id)
    return DeliveryRecord(
        **_delivery_view(found).model_dump(),
        payload=json.loads(found.body),
        log=[_attempt_view(attempt) for attempt in attempts],
    )


@router.post("/{webhook_id}/deliveries/{delivery_id}/replay", status_code=202, responses=describes(404, 409))
def replay(webhook_id: PathId, delivery_id: PathId, tenant: ManagedTenant, session: Writing) -> DeliveryView:
    """Send it again, as the same message with the same id."""
    return _delivery_view(service.replay(session, tenant, webhook_id, delivery_id))
