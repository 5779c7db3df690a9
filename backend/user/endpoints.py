from __future__ import annotations

from fastapi import APIRouter

from backend.auth.caller import ReadingCaller
from backend.credit import service as credit
from backend.errors import describes
from backend.sessions import Reading, WiringOf
from backend.user.schemas import Limits, Me

router = APIRouter(tags=["account"], responses=describes(401, 403))


@router.get("/me")
def me(caller: ReadingCaller, session: Reading, wiring: WiringOf) -> Me:
    """Who you are, what you have, and what you may send."""
    available, held = credit.balance(session, caller.scope)
    settings = wiring.settings
    return Me(
        email=caller.email,
        credits=credit.shown(available),
        held=credit.shown(held),
        id=caller.user_id,
        tenant_id=caller.tenant_id,
        tenant_name=caller.tenant.name,
        role=caller.role,
        operator=caller.operator,
        impersonated=caller.impersonator_id is not None,
        email_verified=caller.email_verified,
        limits=Limits(
            separate=settings.limit.separate,
            max_bytes=settings.upload.max_bytes,
            max_seconds=settings.upload.max_seconds,
        ),
    )
