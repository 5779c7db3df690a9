"""One-use tickets: a browser's EventSource can't send a header, so it shows a ticket once.

A ticket names the login or key that it was made for. Only its hash is kept, and over all of it: it can't be made to
name another.
"""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from sqlalchemy.orm import Session

from backend.problem import Problem
from backend.ticket import repository
from backend.way_in import Kind, WayIn


class TicketRefused(Problem):
    status = 401
    code = "ticket_invalid"
    detail = "The ticket is wrong, used or expired."
    advice = "Get a new one with POST /api/v1/tickets; each is good once, within a minute."
    headers = {"WWW-Authenticate": "Bearer"}


def issue(session: Session, way_in: WayIn, task_id: UUID, seconds: int) -> str:
    ticket = f"{secrets.token_urlsafe(32)}.{way_in.kind}.{way_in.id.hex}"
    repository.add(session, way_in, task_id, _sha256(ticket), seconds)
    return ticket


def redeem(session: Session, ticket: str, task_id: UUID) -> WayIn:
    """For whom it was made; raises TicketRefused, also for another task's. Shown once, it is gone."""
    taken = repository.take(session, _sha256(ticket))
    if taken is None or taken.task_id != task_id:
        raise TicketRefused
    try:
        _, kind, way_id = ticket.split(".")
        return WayIn(taken.tenant_id, taken.user_id, Kind(kind), UUID(way_id))
    except ValueError:  # of an earlier version
        raise TicketRefused from None


def forget_expired(session: Session) -> None:
    repository.forget_expired(session)


def _sha256(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
