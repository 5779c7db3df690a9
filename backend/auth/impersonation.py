"""An operator acts as somebody else, for a while and for a reason that the log of that person's tenant shows."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.auth import repository, service, token
from backend.auth.token import Claims, TokenRefused
from backend.problem import Problem
from backend.settings import Settings
from backend.tenant.scope import Scope
from backend.user import service as users
from backend.way_in import WayIn

LONGEST_MINUTES = 60


class NotImpersonable(Problem):
    status = 409
    code = "not_impersonable"
    detail = "Nobody can act as this person: an operator, somebody deactivated, or not in that tenant."
    advice = "GET /api/v1/admin/users/{id} says which."


def begin(
    session: Session,
    settings: Settings,
    actor: Actor,
    way_in: WayIn,
    user_id: UUID,
    tenant_id: UUID | None,
    reason: str,
    minutes: int,
) -> str:
    """An access token, and no refresh token: it ends by itself, or with POST /logout.

    `way_in` is the operator's own. Raises TokenRefused, NoSuchPerson, NotImpersonable.
    """
    assert actor.user_id is not None
    users.lock(session, actor.user_id)
    if not service.still_in(session, [way_in]):  # ended meanwhile, with all in which they acted as others
        raise TokenRefused
    user = users.require(session, user_id)
    tenant_id = tenant_id or users.home_tenant(session, user_id)
    if user.operator or tenant_id is None or users.member(session, user_id, tenant_id) is None:
        raise NotImpersonable
    scope = Scope(tenant_id, user_id)
    session_id = repository.open_session(session, scope, minutes * 60.0, impersonator_id=actor.user_id)
    audit.record(
        session,
        actor,
        "user.impersonated",
        tenant_id=tenant_id,
        target=user_id,
        after={"session_id": str(session_id), "minutes": minutes},
        reason=reason,
    )
    claims = Claims(user_id, tenant_id, session_id)
    return token.issue(settings.auth, claims, minutes=minutes, operator_id=actor.user_id)
