"""What people have used, by the day (UTC) on which they submitted it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy.orm import Session

from backend.clock import utc_now
from backend.problem import Problem
from backend.tenant.scope import Scope
from backend.usage import repository
from backend.usage.repository import Used as Used

USUAL_DAYS = 30
MOST_DAYS = 366
MOST_ROWS = 10_000


class PeriodRefused(Problem):
    status = 422
    code = "period_invalid"
    detail = f"`from` must not be after `to`, and both together are at most {MOST_DAYS} days."
    advice = "Give two dates like 2026-01-31; without them it is the last 30 days."


class PeriodTooLarge(Problem):
    status = 422
    code = "period_too_large"
    detail = f"These are more than {MOST_ROWS} rows."
    advice = "Ask for fewer days, or for one person with `user_id`."


def period(since: date | None, until: date | None) -> tuple[date, date]:
    """The first and the last day; raises PeriodRefused."""
    last = until or utc_now().date()
    try:
        first = since or last - timedelta(days=USUAL_DAYS - 1)
    except OverflowError:
        raise PeriodRefused from None
    if not 0 <= (last - first).days < MOST_DAYS or not 1970 < first.year <= last.year < 9999:
        raise PeriodRefused
    return first, last


def used(session: Session, scope: Scope, first: date, last: date) -> list[Used]:
    """Newest day first; raises PeriodTooLarge."""
    end = _midnight(last + timedelta(days=1))
    rows = repository.used(session, scope, _midnight(first), end, MOST_ROWS + 1)
    if len(rows) > MOST_ROWS:
        raise PeriodTooLarge
    return rows


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
