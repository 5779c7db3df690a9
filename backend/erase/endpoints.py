from __future__ import annotations

from fastapi import APIRouter, Request

from backend.auth import recovery
from backend.auth.oneself import Oneself
from backend.auth.role import TenantOwner
from backend.erase import receipt, service
from backend.erase.schemas import ErasureContent, ErasureReceipt, PersonErasure, ReceiptCheck, TenantErasure
from backend.erase.service import Erasure
from backend.errors import describes
from backend.rate_limit import RateLimits
from backend.sessions import WiringOf


def erase_tenant(request: Request, body: TenantErasure, caller: TenantOwner, wiring: WiringOf) -> ErasureReceipt:
    """Erase your tenant: songs, results, tasks, webhooks, people who are in no other. It can't be undone.

    What runs is cancelled, credits that are left expire. The answer is a signed receipt: keep it, it is shown once.
    """
    with wiring.database.read() as session:
        service.require_name(session, caller.tenant_id, body.name)
    recovery.confirm_password(wiring, caller.email, body.password, caller.actor)
    return _view(service.erase_tenant(wiring, caller.actor, caller.tenant_id, owner=caller.user_id))


def erase_me(request: Request, body: PersonErasure, caller: Oneself, wiring: WiringOf) -> ErasureReceipt:
    """Erase yourself: all that is yours, in every tenant, and the tenants in which nobody else is.

    Where you are the last owner among others, make somebody else an owner first. The answer is a signed receipt.
    """
    recovery.confirm_password(wiring, caller.email, body.password, caller.actor)
    return _view(service.erase_person(wiring, caller.actor, caller.user_id))


def verify(body: ReceiptCheck, wiring: WiringOf) -> ErasureContent:
    """What a receipt of an erasure says, if it is one of ours and was not changed."""
    return ErasureContent.model_validate(receipt.read(wiring.settings.auth, body.receipt))


def _view(erasure: Erasure) -> ErasureReceipt:
    return ErasureReceipt.model_validate({**erasure.content, "receipt": erasure.receipt})


def routes(limits: RateLimits) -> APIRouter:
    router = APIRouter(tags=["account"])
    router.post("/tenant/erase", responses=describes(401, 403, 409, 422, 429, 503))(limits.login(erase_tenant))
    router.post("/me/erase", responses=describes(401, 403, 409, 422, 429, 503))(limits.login(erase_me))
    router.post("/erasures/verify", responses=describes(422))(verify)
    return router
