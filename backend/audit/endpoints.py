from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import StringConstraints

from backend.audit import service
from backend.audit.schemas import Entry, OperatorEntry, operator_view, view
from backend.auth.role import Operator, TenantReader
from backend.clock import Moment
from backend.errors import describes
from backend.paging import one_page
from backend.sessions import Reading

router = APIRouter(responses=describes(401, 403, 422))

Limit = Annotated[int, Query(ge=1, le=1000)]
Action = Annotated[str, StringConstraints(max_length=64, pattern=r"^[^\x00]*$")]


@router.get("/tenant/audit", tags=["tenant"])
def tenant_audit(
    request: Request,
    response: Response,
    caller: TenantReader,
    session: Reading,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[Entry]:
    """Who did what in your tenant, operators of the service too, newest first; pages as all lists do."""
    found = service.of_tenant(session, caller.tenant_id, before=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda row: row.id)
    return [view(row) for row in page]


@router.get("/admin/audit", tags=["admin"])
def audit(
    request: Request,
    response: Response,
    operator: Operator,
    session: Reading,
    tenant_id: UUID | None = None,
    actor_id: Annotated[UUID | None, Query(description="Who did it, or in whose name it was done")] = None,
    action: Annotated[Action | None, Query(examples=["tenant.suspended"])] = None,
    since: Annotated[Moment | None, Query(alias="from", description="RFC 3339")] = None,
    until: Annotated[Moment | None, Query(alias="to", description="RFC 3339; itself not included")] = None,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[OperatorEntry]:
    """The whole log, newest first; the next page is in the `Link` header."""
    found = service.everywhere(
        session,
        tenant_id=tenant_id,
        actor_id=actor_id,
        action=action,
        since=since,
        until=until,
        before=cursor,
        limit=limit + 1,
    )
    return [operator_view(row) for row in one_page(request, response, found, limit, lambda row: row.id)]
