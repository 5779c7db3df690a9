"""The audit log: who did what, in the transaction that did it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import repository
from backend.db import after_commit
from backend.models import AuditEntry
from backend.models.audit_entry import ActorKind


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts. A person's own doings carry their id; an operator's who impersonates them, the operator's."""

    kind: ActorKind
    user_id: UUID | None = None
    acting_as: UUID | None = None
    key_id: UUID | None = None
    address: str | None = None
    request_id: str | None = None


COMMAND = Actor("command")
"""The operator at the command line."""
SERVICE = Actor("service")
"""The service by itself, for instance the sweep."""


_WITNESSED = "impersonation"


class Witness:
    """Of a request that changes something while an operator acts as somebody else: it leaves an entry, in the
    transaction of the act. Where the act has an entry of its own, that is the one.
    """

    def __init__(self, actor: Actor, tenant_id: UUID, method: str, route: str, target: str | None) -> None:
        self._actor, self._tenant_id, self._target = actor, tenant_id, target
        self._after = {"method": method, "route": route}
        self._over = False

    def __call__(self, session: Session) -> None:
        if not self._over and not session.info.get(_WITNESSED):
            record(
                session,
                self._actor,
                "impersonation.request",
                tenant_id=self._tenant_id,
                target=self._target,
                after=self._after,
            )
        after_commit(session, self._end)

    def _end(self) -> None:
        self._over = True


def record(
    session: Session,
    actor: Actor,
    action: str,
    *,
    tenant_id: UUID | None = None,
    target: UUID | str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Write it down. `before`, `after` and `reason` name people by their ids only: nobody can change them later."""
    if actor.acting_as is not None:
        session.info[_WITNESSED] = True
    repository.add(
        session,
        AuditEntry(
            tenant_id=tenant_id,
            actor_kind=actor.kind,
            actor_id=actor.user_id,
            acting_as=actor.acting_as,
            key_id=actor.key_id,
            action=action,
            target=None if target is None else str(target),
            before=None if before is None else dict(before),
            after=None if after is None else dict(after),
            reason=reason,
            address=actor.address,
            request_id=actor.request_id,
        ),
    )


def of_tenant(session: Session, tenant_id: UUID, *, before: UUID | None, limit: int) -> list[AuditEntry]:
    """What was done in a tenant, newest first, from after the entry `before`."""
    return repository.of_tenant(session, tenant_id, before=before, limit=limit)


def everywhere(
    session: Session,
    *,
    tenant_id: UUID | None = None,
    actor_id: UUID | None = None,
    action: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    before: UUID | None,
    limit: int,
) -> list[AuditEntry]:
    """For the operator, newest first."""
    return repository.everywhere(
        session,
        tenant_id=tenant_id,
        actor_id=actor_id,
        action=action,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )


def forget_addresses(session: Session, *, actor_id: UUID) -> int:
    """Of one person; how many there were."""
    return repository.forget_addresses_of(session, actor_id)


def forget_old_addresses(session: Session, days: float) -> None:
    """Everybody's: who did what stays."""
    repository.forget_addresses(session, days * 86_400.0)
