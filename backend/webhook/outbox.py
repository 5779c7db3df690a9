"""The workers' side of webhooks: claim a delivery, and write what became of it.

A claim is a lease: when its worker dies, the delivery goes to another. So a message arrives at least once, and a
receiver knows a repeated one by its `webhook-id`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.db import Database
from backend.models import Webhook, WebhookAttempt
from backend.settings.webhook import Webhook as WebhookSettings
from backend.webhook import lease_repository

JITTER = 0.2
"""Part of a pause by which it is varied: what failed together does not come back together."""
LONGEST_PAUSE = 86_400.0
GONE = 410

ADDRESS_REFUSED = "address_refused"
NAME_UNKNOWN = "name_unknown"
CONNECT_FAILED = "connect_failed"
TLS_FAILED = "tls_failed"
TIMEOUT = "timeout"
BROKEN_ANSWER = "broken_answer"
REDIRECT_REFUSED = "redirect_refused"
STATUS_NOT_2XX = "status_not_2xx"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker needs to know to make one attempt."""

    delivery_id: UUID
    attempt: int
    tries: int
    webhook_id: UUID
    tenant_id: UUID
    url: str
    secrets: tuple[str, ...]
    message: str
    body: str
    at: datetime
    """By the database's clock, which the receiver's is closer to than some worker's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an attempt; `error` None means that it arrived."""

    error: str | None
    status: int | None = None
    response: str | None = None
    retry_after: float = 0.0
    """Seconds that the receiver asked for."""
    milliseconds: int = 0


def claim(database: Database, lease_seconds: float) -> Claim | None:
    """Take the next delivery that is due, if there is one."""
    with database.read() as session:
        if not lease_repository.any_due(session):  # mostly; and asking so takes no write lock
            return None
    with database.write() as session:
        found = lease_repository.claim(session, lease_seconds)
        if found is None:
            return None
        webhook = lease_repository.webhook(session, found.webhook_id)
        assert webhook is not None  # a delivery has one
        assert found.claimed_at is not None
        return Claim(
            delivery_id=found.id,
            attempt=found.attempt,
            tries=found.tries,
            webhook_id=webhook.id,
            tenant_id=found.tenant_id,
            url=webhook.url,
            secrets=_secrets(webhook, found.claimed_at),
            message=f"msg_{found.message_id.hex}",
            body=found.body,
            at=found.claimed_at,
        )


def settle(database: Database, settings: WebhookSettings, claim: Claim, outcome: Outcome) -> bool:
    """Write the outcome, and when to try again; False when another worker has the delivery by now."""
    again = None if outcome.error is None else pause(settings.retry_seconds, claim.tries, outcome.retry_after)
    status = "delivered" if outcome.error is None else "failed" if again is None else "pending"
    with database.write() as session:
        # In the order in which removing a webhook locks: the webhook, then its deliveries.
        if lease_repository.webhook(session, claim.webhook_id, lock=True) is None:
            return False
        settled = lease_repository.settle(session, claim.delivery_id, claim.attempt, status=status, again_seconds=again)
        if settled is None:
            return False
        lease_repository.record(
            session,
            WebhookAttempt(
                delivery_id=claim.delivery_id,
                number=claim.attempt,
                tenant_id=claim.tenant_id,
                status=outcome.status,
                milliseconds=outcome.milliseconds,
                error=outcome.error,
                response=outcome.response,
            ),
        )
        if outcome.error is None:
            lease_repository.went_well(session, claim.webhook_id)
        else:
            _went_badly(session, settings, claim, outcome)
        return True


def give_back(database: Database, claim: Claim) -> None:
    """An attempt that was not made or not ended, for instance because the worker is told to stop."""
    with database.write() as session:
        lease_repository.give_back(session, claim.delivery_id, claim.attempt)


def forget_old(session: Session, days: int) -> None:
    lease_repository.forget_old(session, days * 86_400.0)


def pause(schedule: Sequence[float], tries: int, asked: float) -> float | None:
    """Seconds until the next attempt after this many; None after the last."""
    if tries > len(schedule):
        return None
    varied = schedule[tries - 1] * random.uniform(1 - JITTER, 1 + JITTER)
    return max(varied, min(asked, LONGEST_PAUSE))


def _secrets(webhook: Webhook, now: datetime) -> tuple[str, ...]:
    if webhook.previous_secret and webhook.previous_until and webhook.previous_until > now:
        return webhook.secret, webhook.previous_secret
    return (webhook.secret,)


def _went_badly(session: Session, settings: WebhookSettings, claim: Claim, outcome: Outcome) -> None:
    lease_repository.went_badly(session, claim.webhook_id)
    if outcome.status == GONE:
        lease_repository.switch_off(session, claim.webhook_id, "gone")
    else:
        longest = settings.disable_after_seconds
        lease_repository.switch_off(session, claim.webhook_id, "failing", failing_seconds=longest)
