from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Float, and_, cast, exists, extract, func, or_, select
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Account, Part, Purchase, Task, WebhookDelivery, Worker
from backend.models.task import FINISHED
from backend.tenant.scope import serves_every_tenant


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Tasks that are queued or processing."""

    tasks: Mapping[str, int]
    oldest_seconds: float
    """Since the queued task that waits the longest was ordered."""
    expired: int
    """Tasks whose lease is over."""


@dataclass(frozen=True, slots=True)
class Hand:
    """A worker that has been heard of lately."""

    name: str
    error: str | None
    starting: bool
    """It has begun a little while ago, and its model is not warm yet."""
    busy: bool
    """It holds a task, or a part of one."""


@serves_every_tenant
def under_way(session: Session) -> UnderWay:
    expired = func.count().filter(Task.lease_until < database_now())
    oldest = _seconds_since(session, func.min(Task.created_at))
    rows = session.execute(
        select(Task.status, func.count(), oldest, expired)
        .where(Task.status.in_(("queued", "processing")))
        .group_by(Task.status)
    ).all()
    return UnderWay(
        tasks={status: number for status, number, _, _ in rows},
        oldest_seconds=next((max(0.0, age) for status, _, age, _ in rows if status == "queued"), 0.0),
        expired=sum(each for *_, each in rows),
    )


@serves_every_tenant
def finished(session: Session) -> dict[str, int]:
    """How many there are of each kind; it takes the longer the more there are."""
    statement = select(Task.status, func.count()).where(Task.status.in_(FINISHED)).group_by(Task.status)
    return {row[0]: row[1] for row in session.execute(statement)}


@serves_every_tenant
def failures(session: Session) -> dict[str, int]:
    """Failed tasks by code."""
    statement = select(Task.error_code, func.count()).where(Task.status == "failed").group_by(Task.error_code)
    return {str(code): number for code, number in session.execute(statement)}


@serves_every_tenant
def parts(session: Session) -> dict[str, int]:
    statement = select(Part.status, func.count()).group_by(Part.status)
    return {row[0]: row[1] for row in session.execute(statement)}


@serves_every_tenant
def deliveries(session: Session) -> tuple[int, float]:
    """(messages still to be delivered, seconds since the first of them was due)."""
    statement = select(func.count(), _seconds_since(session, func.min(WebhookDelivery.next_at)))
    number, late = session.execute(statement.where(WebhookDelivery.status == "pending")).one()
    return number, max(0.0, late or 0.0)


@serves_every_tenant
def stale_holds(session: Session) -> int:
    """Millicredits that are held for no task under way. In one statement: both sums are of the same moment."""
    held = select(func.coalesce(func.sum(Account.balance), 0)).where(Account.kind == "held").scalar_subquery()
    wanted = (
        select(func.coalesce(func.sum(Task.price), 0))
        .where(Task.status.in_(("queued", "processing")))
        .scalar_subquery()
    )
    return int(session.scalar(select(held - wanted)) or 0)


@serves_every_tenant
def shortfall(session: Session) -> int:
    """Millicredits that are missing of all purchases that were paid back."""
    return int(session.scalar(select(func.sum(Purchase.shortfall)).where(Purchase.shortfall > 0)) or 0)


@serves_every_tenant
def hands(session: Session, silent_seconds: float, starting_seconds: float) -> list[Hand]:
    def holds(model: type[Task] | type[Part]) -> ColumnElement[bool]:
        return exists().where(model.status == "processing", model.worker == Worker.name)

    starting = and_(Worker.warm_model.is_(None), Worker.started_at >= database_now(-starting_seconds))
    rows = session.execute(
        select(Worker.name, Worker.error, starting, or_(holds(Task), holds(Part)))
        .where(Worker.stopped_at.is_(None), Worker.seen_at >= database_now(-silent_seconds))
        .order_by(Worker.name)
    )
    return [Hand(name, error, bool(is_starting), bool(busy)) for name, error, is_starting, busy in rows]


def _seconds_since(session: Session, moment: ColumnElement[object]) -> ColumnElement[float]:
    """By the database's clock."""
    if session.get_bind().dialect.name == "sqlite":
        days = func.julianday("now") - func.julianday(moment)
        return cast(days * 86_400.0, Float)
    return cast(extract("epoch", func.clock_timestamp() - moment), Float)
