"""Coming into a tenant that has invited somebody: with an account, or by making one."""

from __future__ import annotations

from dataclasses import replace
from typing import cast
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.credit import service as credit
from backend.invitation import service as invitations
from backend.invitation.service import InvitationUnknown
from backend.models import TenantInvitation, User
from backend.models.membership import Role
from backend.problem import Problem
from backend.tenant import service as tenants
from backend.user import repository
from backend.user.service import EmailTaken, InvitationRefused
from backend.user.service import same as same


class MemberAlready(Problem):
    status = 409
    code = "already_member"
    detail = "This person is a member already."
    advice = "GET /api/v1/tenant/members lists everybody."


def accept(session: Session, actor: Actor, user_id: UUID, email: str, code: str) -> TenantInvitation:
    """Raises InvitationUnknown, MemberAlready; the caller's transaction must then end without a commit."""
    tenant_id = invitations.tenant_of(session, code, same(email))
    if tenant_id is None:
        raise InvitationUnknown
    tenants.lock(session, tenant_id)
    invitation = invitations.take(session, code, same(email))
    role = cast("Role", invitation.role)
    if tenants.role_of(session, tenant_id, user_id) is not None:
        raise MemberAlready
    tenants.join(session, tenant_id, user_id, role)
    credit.open_account(session, tenant_id, user_id, 0)
    invitation.accepted_by = user_id
    after = {"role": role, "invitation": str(invitation.id)}
    audit.record(session, actor, "member.joined", tenant_id=tenant_id, target=user_id, after=after)
    return invitation


def create_invited(session: Session, actor: Actor, email: str, password_hash: str, code: str) -> User:
    """An account in the tenant that invited this address, and in no other.

    It gets no welcome credits: whoever can invite could collect them. Raises InvitationRefused, EmailTaken.
    """
    try:
        user = repository.add(session, same(email), password_hash, 0)
    except IntegrityError as error:
        raise EmailTaken from error
    try:
        accept(session, replace(actor, user_id=user.id), user.id, email, code)
    except InvitationUnknown:
        raise InvitationRefused from None
    return user
