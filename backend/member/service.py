"""People who come into a tenant, change their role there, and go; and what becomes of what they leave.

Who comes, goes or changes roles does so one after the other in each tenant: every act here locks it first and looks
at roles then, so that two owners who remove each other leave one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.auth import letters, lockout
from backend.auth import service as auth
from backend.auth.lockout import TooManyFailures
from backend.auth.role import RANKS, RoleNeeded
from backend.credit import service as credit
from backend.invitation import service as invitations
from backend.models import Tenant, TenantInvitation
from backend.models.membership import Role
from backend.problem import Problem
from backend.task import cancellation
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.user.joining import MemberAlready, same
from backend.wiring import Wiring


class MemberUnknown(Problem):
    status = 404
    code = "member_not_found"
    detail = "There is no such person in your tenant."
    advice = "GET /api/v1/tenant/members lists everybody."


class LastOwner(Problem):
    status = 409
    code = "last_owner"
    detail = "A tenant needs an owner, and this is the last one."
    advice = "Make somebody else an owner first, or erase the tenant."


@dataclass(frozen=True, slots=True)
class Gone:
    """Somebody who is no longer in a tenant."""

    user_id: UUID
    cancelled_tasks: int
    credits: int
    """Millicredits, which went to `credits_to`."""
    credits_to: UUID | None


NAME_WITHHELD = "…"
"""In the audit log, which outlives the tenant: its name is often a person's."""


def change_tenant(session: Session, actor: Actor, role: str, tenant_id: UUID, changes: dict[str, Any]) -> Tenant:
    """Raises RoleNeeded. What stays as it is is not written down."""
    tenants.lock(session, tenant_id)
    tenant = tenants.get(session, tenant_id)
    before = {name: getattr(tenant, name) for name, value in changes.items() if getattr(tenant, name) != value}
    if "shares_audio" in before and role != "owner":
        raise RoleNeeded("owner")
    if before:
        after = {name: changes[name] for name in before}
        tenants.change(session, tenant_id, **after)
        for words in (before, after):
            if "name" in words:
                words["name"] = NAME_WITHHELD
        audit.record(
            session, actor, "tenant.changed", tenant_id=tenant_id, target=tenant_id, before=before, after=after
        )
        session.refresh(tenant)
    return tenant


def change_role(session: Session, actor: Actor, tenant_id: UUID, by: UUID, user_id: UUID, role: Role) -> Role:
    """An owner may do all of it, others may only step down. Raises MemberUnknown, RoleNeeded, LastOwner."""
    mine, theirs = _roles(session, tenant_id, by, user_id)
    steps_down = user_id == by and RANKS[role] <= RANKS[theirs]
    if mine != "owner" and not steps_down and not theirs == role == "member":
        raise RoleNeeded("owner")
    if role == theirs:
        return role
    if theirs == "owner":
        _another_owner(session, Scope(tenant_id, user_id), theirs)
    tenants.set_role(session, tenant_id, user_id, role)
    if RANKS[role] < RANKS[theirs]:
        invitations.revoke_of(session, tenant_id, user_id)
    before, after = {"role": theirs}, {"role": role}
    audit.record(session, actor, "member.role_changed", tenant_id=tenant_id, target=user_id, before=before, after=after)
    return role


def remove(session: Session, actor: Actor, tenant_id: UUID, by: UUID, user_id: UUID) -> Gone:
    """An owner may remove anybody, an admin members. Raises MemberUnknown, RoleNeeded, LastOwner."""
    if user_id == by:
        return leave(session, actor, Scope(tenant_id, user_id))
    mine, theirs = _roles(session, tenant_id, by, user_id)
    if mine != "owner" and theirs != "member":
        raise RoleNeeded("owner")
    return _end(session, actor, Scope(tenant_id, user_id), theirs, by, "member.removed")


def leave(session: Session, actor: Actor, scope: Scope) -> Gone:
    """Raises LastOwner."""
    assert scope.user_id is not None
    tenants.lock(session, scope.tenant_id)
    role = tenants.role_of(session, scope.tenant_id, scope.user_id)
    if role is None:
        raise MemberUnknown
    return _end(session, actor, scope, role, scope.user_id, "member.left")


def invite(
    wiring: Wiring, session: Session, actor: Actor, tenant_id: UUID, by: UUID, email: str, role: Role
) -> tuple[TenantInvitation, str]:
    """The row and its code. Only an owner may invite admins. Raises RoleNeeded, MemberAlready, TooManyInvitations."""
    tenants.lock(session, tenant_id)
    mine = tenants.role_of(session, tenant_id, by)
    needed: Role = "owner" if role != "member" else "admin"
    if mine is None or RANKS[mine] < RANKS[needed]:
        raise RoleNeeded(needed)
    if tenants.member_named(session, tenant_id, same(email)) is not None:
        raise MemberAlready
    row, code = invitations.create(session, tenant_id, by, same(email), role, wiring.settings.auth.invitation_days)
    audit.record(session, actor, "invitation.made", tenant_id=tenant_id, target=row.id, after={"role": role})
    return row, code


def send_invitation(wiring: Wiring, inviter: str, row: TenantInvitation, code: str) -> bool:
    """By letter, after its transaction, if letters are sent and this address did not get enough of them lately."""
    if not wiring.mail.sends:
        return False
    auth_settings = wiring.settings.auth
    try:
        with wiring.database.write() as session:
            lockout.count_try(session, auth_settings, lockout.letter_counters(auth_settings, row.email))
    except TooManyFailures:
        return False
    wiring.mail.send(letters.invitation(wiring.settings, row.email, inviter, code))
    return True


def revoke_invitation(session: Session, actor: Actor, tenant_id: UUID, invitation_id: UUID) -> None:
    """Raises InvitationUnknown."""
    invitations.revoke(session, tenant_id, invitation_id)
    audit.record(session, actor, "invitation.revoked", tenant_id=tenant_id, target=invitation_id)


def _roles(session: Session, tenant_id: UUID, by: UUID, user_id: UUID) -> tuple[Role, Role]:
    """(of who acts, of whom it is done to), as they stay until the transaction ends."""
    tenants.lock(session, tenant_id)
    mine, theirs = (tenants.role_of(session, tenant_id, each) for each in (by, user_id))
    if mine is None or RANKS[mine] < RANKS["admin"]:
        raise RoleNeeded("admin")
    if theirs is None:
        raise MemberUnknown
    return mine, theirs


def _another_owner(session: Session, scope: Scope, role: Role, preferred: UUID | None = None) -> UUID:
    """Of somebody with this role. Owners who are deactivated don't count while another owner goes."""
    assert scope.user_id is not None
    found = tenants.owners(session, scope.tenant_id, but=scope.user_id)
    if role != "owner":
        found += tenants.owners(session, scope.tenant_id, but=scope.user_id, idle=True)
    if not found:
        raise LastOwner
    return preferred if preferred in found else found[0]


def _end(session: Session, actor: Actor, scope: Scope, role: Role, by: UUID, action: str) -> Gone:
    """Songs, tasks and webhooks stay the tenant's. Leftover credits go to the owner who acts, else to the first one."""
    assert scope.user_id is not None
    heir = _another_owner(session, scope, role, preferred=by)
    # First: it waits for orders of theirs that are being written, and lets no more come (`limits.admit`).
    tenants.remove(session, scope.tenant_id, scope.user_id)
    auth.end_membership(session, scope)
    invitations.revoke_of(session, scope.tenant_id, scope.user_id)
    cancelled = cancellation.cancel_all(session, scope)
    left = credit.balance(session, scope)[0]
    if left:
        credit.transfer(session, scope, heir, left, action)
    gone = Gone(scope.user_id, cancelled, left, heir if left else None)
    after = {"cancelled_tasks": cancelled, "millicredits": left, "credits_to": str(heir) if left else None}
    audit.record(
        session,
        actor,
        action,
        tenant_id=scope.tenant_id,
        target=scope.user_id,
        before={"role": role},
        after=after,
    )
    return gone
