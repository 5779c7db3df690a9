from __future__ import annotations

from uuid import UUID

from sqlalchemy import delete
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Ticket
from backend.tenant.scope import serves_every_tenant
from backend.way_in import WayIn


def add(session: Session, way_in: WayIn, task_id: UUID, sha256: str, seconds: int) -> None:
    ticket = Ticket(sha256=sha256, tenant_id=way_in.tenant_id, user_id=way_in.user_id, task_id=task_id)
    ticket.expires_at = database_now(seconds)
    session.add(ticket)
    session.flush()


@serves_every_tenant
def take(session: Session, sha256: str) -> Ticket | None:
    """Remove a ticket that is still good and return it: of two that show it, one gets in.

    Without a scope: the ticket itself says whose it is.
    """
    return session.scalars(
        delete(Ticket).where(Ticket.sha256 == sha256, Ticket.expires_at >= database_now()).returning(Ticket)
    ).one_or_none()


@serves_every_tenant
def forget_expired(session: Session) -> None:
    session.execute(delete(Ticket).where(Ticket.expires_at < database_now()))
