from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from backend.identity import first_id
from backend.models import Task, Transfer, User
from backend.tenant.scope import Scope, in_scope

SLACK = timedelta(hours=1)
"""How far the clocks that make ids may be from the database's."""


@dataclass(frozen=True, slots=True)
class Used:
    """By one person, of what they submitted on one day."""

    user_id: UUID
    email: str
    day: date
    submitted: int
    completed: int
    failed: int
    cancelled: int
    seconds: float
    credits: int
    """Millicredits."""


def used(session: Session, scope: Scope, since: datetime, until: datetime, limit: int) -> list[Used]:
    """Newest day first. Deleted tasks count; `until` is not part of it."""
    day = _day(session, Task.created_at)
    spent = case((Task.status == "completed", Task.price), else_=0) - func.coalesce(Transfer.amount, 0)
    rows = session.execute(
        select(
            Task.user_id,
            User.email,
            day,
            func.count(),
            *(func.sum(case((Task.status == status, 1), else_=0)) for status in ("completed", "failed", "cancelled")),
            func.sum(Task.seconds),
            func.sum(spent),
        )
        .join(User, User.id == Task.user_id)
        .outerjoin(
            Transfer,
            (Transfer.tenant_id == Task.tenant_id) & (Transfer.task_id == Task.id) & (Transfer.kind == "refund"),
        )
        .where(
            in_scope(Task, scope),
            Transfer.tenant_id.is_(None) | (Transfer.tenant_id == scope.tenant_id),
            Task.id >= first_id(since - SLACK),
            Task.id < first_id(until + SLACK),
            Task.created_at >= since,
            Task.created_at < until,
        )
        .group_by(Task.user_id, User.email, day)
        .order_by(day.desc(), Task.user_id)
        .limit(limit)
    )
    return [
        Used(user_id, email, date.fromisoformat(on), submitted, completed, failed, cancelled, seconds, int(credits))
        for user_id, email, on, submitted, completed, failed, cancelled, seconds, credits in rows
    ]


def _day(session: Session, moment: Any) -> ColumnElement[str]:
    """In UTC, as 2026-01-31, whatever zone the database is in."""
    if session.get_bind().dialect.name == "sqlite":
        return func.date(moment)
    return func.to_char(func.timezone("UTC", moment), "YYYY-MM-DD")
