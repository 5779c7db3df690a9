"""A tenant that is stopped for a while: nothing of it is lost.

Its people's requests get 403 (`backend.auth.caller`), their streams and links end, and its queued tasks wait
(`backend.line`). What runs is finished, and its webhooks are told of it: receivers must not miss what happened.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.tenant import limit_repository as repository
from backend.tenant.limits import TenantUnknown


def suspend(session: Session, actor: Actor, tenant_id: UUID, reason: str) -> None:
    """Raises TenantUnknown. Of one that is suspended already, the reason changes."""
    _standing(session, tenant_id)
    repository.suspend(session, tenant_id, reason)
    audit.record(session, actor, "tenant.suspended", tenant_id=tenant_id, target=tenant_id, reason=reason)


def resume(session: Session, actor: Actor, tenant_id: UUID, reason: str | None = None) -> None:
    """Raises TenantUnknown. Its tasks are taken again, at the latest when a worker next looks for work."""
    if _standing(session, tenant_id):
        repository.resume(session, tenant_id)
        audit.record(session, actor, "tenant.resumed", tenant_id=tenant_id, target=tenant_id, reason=reason)


def _standing(session: Session, tenant_id: UUID) -> bool:
    """Whether it is suspended now; nobody changes that until the transaction ends."""
    found = repository.tenant(session, tenant_id, lock=True)
    if found is None or found.erased_at is not None:
        raise TenantUnknown
    return found.suspended_at is not None
