from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from backend.auth.caller import ReadingCaller
from backend.auth.role import TenantReader
from backend.clock import Day
from backend.credit import service as credit
from backend.errors import describes
from backend.sessions import Reading
from backend.tenant.scope import Scope
from backend.usage import service
from backend.usage.schemas import DayOfUse, Usage

router = APIRouter(responses=describes(401, 403, 422))

First = Annotated[Day | None, Query(alias="from", description="The first day, in UTC; unsaid: 29 days before `to`")]
Last = Annotated[Day | None, Query(alias="to", description="The last day; unsaid: today. At most 366 days in all")]


@router.get("/tenant/usage", tags=["tenant"])
def tenant_usage(
    caller: TenantReader, session: Reading, first: First = None, last: Last = None, user_id: UUID | None = None
) -> Usage:
    """What your tenant's people have used, by person and day. For its owners and admins."""
    return _usage(session, Scope(caller.tenant_id, user_id), first, last)


@router.get("/me/usage", tags=["account"])
def my_usage(caller: ReadingCaller, session: Reading, first: First = None, last: Last = None) -> Usage:
    """What you have used in this tenant, by day."""
    return _usage(session, caller.scope, first, last)


def _usage(session: Session, scope: Scope, since: date | None, until: date | None) -> Usage:
    first, last = service.period(since, until)
    days = [
        DayOfUse(
            day=row.day,
            user_id=row.user_id,
            email=row.email,
            submitted=row.submitted,
            completed=row.completed,
            failed=row.failed,
            cancelled=row.cancelled,
            seconds=row.seconds,
            credits=credit.shown(row.credits),
        )
        for row in service.used(session, scope, first, last)
    ]
    return Usage(first=first, last=last, days=days)
