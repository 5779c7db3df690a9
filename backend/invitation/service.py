"""Invitations into a tenant: a code that is shown once, for one address, good once."""

from __future__ import annotations

import hashlib
import secrets
from uuid import UUID

from sqlalchemy.orm import Session

from backend.invitation import repository
from backend.models import TenantInvitation
from backend.models.membership import Role
from backend.problem import Problem

MOST_INVITATIONS = 100
"""Open ones and those of a day: each may be a letter to a stranger."""


class InvitationUnknown(Problem):
    """The same for a code that is wrong, used, expired, revoked or somebody else's."""

    status = 404
    code = "invitation_not_found"
    detail = "There is no such invitation for you."
    advice = "Ask whoever invited you for a new one, for the address that you log in with."


class TooManyInvitations(Problem):
    status = 409
    code = "too_many_invitations"
    detail = f"{MOST_INVITATIONS} invitations are open or were made within a day."
    advice = "Wait until some are accepted or expire, or revoke some: DELETE /api/v1/tenant/invitations/{id}."


def create(
    session: Session, tenant_id: UUID, invited_by: UUID, email: str, role: Role, days: float
) -> tuple[TenantInvitation, str]:
    """The row, and the code, which nobody can show again. A former one for this address ends.

    Raises TooManyInvitations.
    """
    if repository.count_lately(session, tenant_id) >= MOST_INVITATIONS:
        raise TooManyInvitations
    repository.revoke(session, tenant_id, TenantInvitation.email == email)
    code = secrets.token_urlsafe(24)
    row = TenantInvitation(tenant_id=tenant_id, sha256=_sha256(code), email=email, role=role, invited_by=invited_by)
    repository.add(session, row, days * repository.DAY_SECONDS)
    return row, code


def listed(session: Session, tenant_id: UUID) -> list[TenantInvitation]:
    """Those that are still good, newest first."""
    return repository.listed(session, tenant_id)


def revoke(session: Session, tenant_id: UUID, invitation_id: UUID) -> None:
    """Raises InvitationUnknown."""
    if not repository.revoke(session, tenant_id, TenantInvitation.id == invitation_id):
        raise InvitationUnknown


def revoke_of(session: Session, tenant_id: UUID, invited_by: UUID) -> int:
    """Of somebody who may invite no more; how many there were."""
    return len(repository.revoke(session, tenant_id, TenantInvitation.invited_by == invited_by))


def revoke_all(session: Session, invited_by: UUID) -> None:
    """Of somebody who may do nothing any more, in every tenant."""
    repository.revoke_all(session, invited_by)


def tenant_of(session: Session, code: str, email: str) -> UUID | None:
    """Which tenant it is for; None if `take` would not take it."""
    return repository.tenant_of(session, _sha256(code), email)


def take(session: Session, code: str, email: str) -> TenantInvitation:
    """Use it up, in the lock of its tenant; who it was is for the caller to write. Raises InvitationUnknown."""
    row = repository.take(session, _sha256(code), email)
    if row is None:
        raise InvitationUnknown
    return row


def _sha256(code: str) -> str:
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()
