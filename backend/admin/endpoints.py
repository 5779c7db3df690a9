"""For operators, who have logged in as themselves: no API key opens these routes."""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from backend.admin import service, views
from backend.admin.schemas import (
    Because,
    EraseOrder,
    GrantOrder,
    ImpersonationOrder,
    ImpersonationToken,
    LogoutOrder,
    OperatorChange,
    OverviewView,
    Refunded,
    SettingChange,
    SettingView,
    TenantChange,
    TenantDetail,
    TenantRow,
    Text,
    UserDetail,
    UserRow,
)
from backend.auth import impersonation
from backend.auth.role import Operator
from backend.credit.service import shown
from backend.db import after_commit
from backend.erase.schemas import ErasureReceipt
from backend.errors import describes
from backend.idempotency import service as idempotency
from backend.idempotency.schemas import IdempotencyKey
from backend.identity import PathId
from backend.paging import one_page
from backend.sessions import Reading, WiringOf, Writing
from backend.setting import service as settings
from backend.user import service as users

router = APIRouter(prefix="/admin", tags=["admin"], responses=describes(401, 403))

Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/overview")
def overview(operator: Operator, session: Reading, wiring: WiringOf) -> OverviewView:
    """Queue, workers, failures of the last day, ledger and storage."""
    return views.overview(service.overview(session, wiring.settings))


@router.get("/tenants", responses=describes(422))
def tenants(
    request: Request,
    response: Response,
    operator: Operator,
    session: Reading,
    search: Annotated[Text | None, Query(description="Part of a name, or of a member's address")] = None,
    status: Literal["active", "suspended", "erased"] | None = None,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[TenantRow]:
    """Tenants, newest first; the next page is in the `Link` header."""
    found = service.find_tenants(session, part=search, state=status, before=cursor, limit=limit + 1)
    return [views.tenant_row(row) for row in one_page(request, response, found, limit, lambda row: row.id)]


@router.get("/tenants/{tenant_id}", responses=describes(404))
def tenant(tenant_id: PathId, operator: Operator, session: Reading, wiring: WiringOf) -> TenantDetail:
    """A tenant with its people, limits, credits and tasks."""
    return views.tenant_detail(service.tenant_file(session, wiring.settings, tenant_id))


@router.patch("/tenants/{tenant_id}", responses=describes(404, 422))
def change_tenant(
    tenant_id: PathId, body: TenantChange, operator: Operator, session: Writing, wiring: WiringOf
) -> TenantDetail:
    """Put it on a plan, change its limits, or both."""
    if body.plan is not None:
        service.set_plan(session, wiring.settings, operator.actor, tenant_id, body.plan)
    if body.limits is not None:
        service.set_limits(session, operator.actor, tenant_id, body.limits.model_dump(exclude_unset=True))
    return views.tenant_detail(service.tenant_file(session, wiring.settings, tenant_id))


@router.post("/tenants/{tenant_id}/suspend", status_code=204, responses=describes(404, 409, 422))
def suspend(tenant_id: PathId, body: Because, operator: Operator, session: Writing) -> None:
    """Stop a tenant: nothing is lost, and its people can do nothing until it is resumed."""
    service.suspend(session, operator.actor, tenant_id, body.reason)


@router.post("/tenants/{tenant_id}/resume", status_code=204, responses=describes(404))
def resume(tenant_id: PathId, operator: Operator, session: Writing) -> None:
    """Let a suspended tenant go on."""
    service.resume(session, operator.actor, tenant_id)


@router.post("/tenants/{tenant_id}/erase", responses=describes(404, 409, 422))
def erase(tenant_id: PathId, body: EraseOrder, operator: Operator, wiring: WiringOf) -> ErasureReceipt:
    """Erase a tenant for its owner, as POST /tenant/erase does. The signed receipt is shown once: send it to them."""
    erasure = service.erase(wiring, operator.actor, tenant_id, body.name, body.reason)
    return ErasureReceipt.model_validate({**erasure.content, "receipt": erasure.receipt})


@router.get("/users", responses=describes(422))
def people(
    request: Request,
    response: Response,
    operator: Operator,
    session: Reading,
    search: Annotated[Text | None, Query(description="Part of an address")] = None,
    status: Literal["active", "deactivated", "operator", "erased"] | None = None,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[UserRow]:
    """People, newest first; the next page is in the `Link` header."""
    found = service.find_users(session, part=search, state=status, before=cursor, limit=limit + 1)
    return [views.user_row(row) for row in one_page(request, response, found, limit, lambda row: row.id)]


@router.get("/users/{user_id}", responses=describes(404))
def person(user_id: PathId, operator: Operator, session: Reading) -> UserDetail:
    """A person with their tenants."""
    return views.user_detail(service.user_file(session, user_id))


@router.post("/users/{user_id}/deactivate", status_code=204, responses=describes(404, 409, 422))
def deactivate(user_id: PathId, body: Because, operator: Operator, session: Writing) -> None:
    """Their logins end and their keys are refused, from the next request on. Nothing is lost."""
    service.deactivate(session, operator.actor, user_id, body.reason)


@router.post("/users/{user_id}/activate", status_code=204, responses=describes(404))
def activate(user_id: PathId, operator: Operator, session: Writing) -> None:
    """Let a deactivated person log in again; their keys are good again, too."""
    service.activate(session, operator.actor, user_id)


@router.post("/users/{user_id}/logout", status_code=204, responses=describes(404, 422))
def logout(user_id: PathId, operator: Operator, session: Writing, body: LogoutOrder | None = None) -> None:
    """End every login of a person."""
    service.logout(session, operator.actor, user_id, also_keys=body is not None and body.keys)


@router.post("/users/{user_id}/operator", status_code=204, responses=describes(404, 409, 422))
def make_operator(user_id: PathId, body: OperatorChange, operator: Operator, session: Writing) -> None:
    """Make somebody an operator, or no longer one: their logins end then."""
    service.set_operator(session, operator.actor, user_id, body.on)


@router.post("/users/{user_id}/grants", status_code=204, responses=describes(404, 422))
def grant(
    user_id: PathId,
    body: GrantOrder,
    operator: Operator,
    session: Writing,
    idempotency_key: IdempotencyKey = None,
) -> None:
    """Give somebody credits."""
    if idempotency_key is not None:
        mark = idempotency.fingerprint(f"users/{user_id}/grants", body.model_dump(mode="json"))
        if not idempotency.reserve(session, operator.scope, idempotency_key, mark):
            idempotency.answer_given(session, operator.scope, idempotency_key, mark)
            return
    amount = round(body.credits * 1_000)
    users.grant_to(
        session,
        operator.actor,
        user_id,
        amount,
        body.reason,
        tenant_id=body.tenant_id,
        expires_at=body.expires_at,
    )


@router.post("/users/{user_id}/impersonate", status_code=201, responses=describes(404, 409, 422))
def impersonate(
    user_id: PathId, body: ImpersonationOrder, operator: Operator, session: Writing, wiring: WiringOf
) -> ImpersonationToken:
    """Act as somebody, for a while. The log of their tenant shows it with the reason.

    Password, keys and logins of the person, and erasing, stay closed; everything else that is changed with the token
    is written down as yours.
    """
    token = impersonation.begin(
        session,
        wiring.settings,
        operator.actor,
        operator.way_in,
        user_id,
        body.tenant_id,
        body.reason,
        body.minutes,
    )
    return ImpersonationToken(access_token=token, expires_in=body.minutes * 60)


@router.post("/tasks/{task_id}/refund", responses=describes(404, 409, 422))
def refund(task_id: PathId, body: Because, operator: Operator, session: Writing) -> Refunded:
    """Give back what a completed task cost, once."""
    return Refunded(credits=shown(service.refund(session, operator.actor, task_id, body.reason)))


@router.get("/settings")
def list_settings(operator: Operator, session: Reading, wiring: WiringOf) -> list[SettingView]:
    """What may be changed while the service runs, and what is in force."""
    return [views.setting(known) for known in settings.listed(session, wiring.running.environment)]


@router.put("/settings/{name}", status_code=204, responses=describes(404, 422))
def change_setting(name: str, body: SettingChange, operator: Operator, session: Writing, wiring: WiringOf) -> None:
    """Change one: in force here at once, and in every other process within two seconds."""
    service.change_setting(session, wiring.running.environment, operator.actor, name, body.value)
    after_commit(session, wiring.running.look)


@router.delete("/settings/{name}", status_code=204, responses=describes(404))
def unset_setting(name: str, operator: Operator, session: Writing, wiring: WiringOf) -> None:
    """Back to what the environment says."""
    service.unset_setting(session, wiring.running.environment, operator.actor, name)
    after_commit(session, wiring.running.look)
