"""One-use tickets: a browser's EventSource can't send a header, so it shows a ticket once."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from sqlalchemy.orm import Session

from backend.problem import Problem
from backend.tenant.scope import Scope
from backend.ticket import repository


class TicketRefused(Problem):
    status = 401
    code = "ticket_invalid"
    detail = "The ticket is wrong, used or expired."
    advice = "Get a new one with POST /api/v1/tickets; each is good once, within a minute."
    headers = {"WWW-Authenticate": "Bearer"}


def issue(session: Session, scope: Scope, task_id: UUID, seconds: int) -> str:
    ticket = secrets.token_urlsafe(32)
    repository.add(session, scope, task_id, _sha256(ticket), seconds)
    return ticket


def redeem(session: Session, ticket: str, task_id: UUID) -> Scope:
    """Whose ticket it is; raises TicketRefused, also for another task's. Shown once, it is gone."""
    taken = repository.take(session, _sha256(ticket))
    if taken is None or taken.task_id != task_id:
        raise TicketRefused
    return Scope(taken.tenant_id, taken.user_id)


def forget_expired(session: Session) -> None:
    repository.forget_expired(session)


def _sha256(ticket: str) -> str:
    return hashlib.sha256(ticket.encode()).hexdigest()
