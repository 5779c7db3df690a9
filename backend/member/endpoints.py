from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from backend.auth.caller import Caller, LoggedIn, ReadingCaller
from backend.auth.oneself import ReadingAnyway
from backend.auth.role import TenantKeeper, TenantReader
from backend.credit import service as credit
from backend.errors import describes
from backend.identity import PathId
from backend.invitation import service as invitations
from backend.member import service
from backend.member.schemas import (
    Departure,
    InvitationCode,
    InvitationShown,
    InvitationView,
    Joined,
    LimitsInForce,
    MemberView,
    NewInvitation,
    PlaceView,
    RoleChange,
    TenantChange,
    TenantSong,
    TenantTask,
    TenantView,
    Used,
)
from backend.models import TenantInvitation
from backend.models.task import TaskStatus
from backend.paging import one_page
from backend.sessions import Reading, WiringOf, Writing
from backend.task import service as tasks
from backend.task.listed import ListedRecord
from backend.task.views import history_rows
from backend.tenant import limits
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from backend.upload import service as uploads
from backend.user import joining
from backend.user import service as users
from backend.wiring import Wiring

router = APIRouter(tags=["tenant"], responses=describes(401, 403))

Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("/tenant")
def tenant(caller: ReadingCaller, session: Reading, wiring: WiringOf) -> TenantView:
    """The tenant that you are in: its settings, what it may use, and what it has used."""
    return _tenant_view(wiring, session, caller)


@router.patch("/tenant", responses=describes(422))
def change_tenant(body: TenantChange, caller: TenantKeeper, session: Writing, wiring: WiringOf) -> TenantView:
    """Change your tenant's name and how long it keeps things; whether it shares audio is its owners' to say."""
    unsaid = {name for name in ("name", "shares_audio") if getattr(body, name) is None}
    changes = body.model_dump(exclude_unset=True, exclude=unsaid)
    service.change_tenant(session, caller.actor, caller.role, caller.tenant_id, changes)
    return _tenant_view(wiring, session, caller)


@router.get("/tenants")
def places(caller: ReadingAnyway, session: Reading) -> list[PlaceView]:
    """The tenants that you are in. A login starts in the one that you joined first; see `switch`."""
    return [
        PlaceView(
            tenant_id=place.tenant_id,
            name=place.name,
            role=place.role,
            since=place.since,
            suspended=place.suspended,
            current=place.tenant_id == caller.tenant_id,
        )
        for place in tenants.places(session, caller.user_id)
    ]


@router.get("/tenant/members")
def members(
    request: Request,
    response: Response,
    caller: ReadingCaller,
    session: Reading,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[MemberView]:
    """Everybody in your tenant; the next page is in the `Link` header."""
    found = tenants.members(session, caller.tenant_id, after=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda member: member.user_id)
    return [MemberView(user_id=each.user_id, email=each.email, role=each.role, since=each.since) for each in page]


@router.patch("/tenant/members/{user_id}", status_code=204, responses=describes(404, 409, 422))
def change_role(user_id: PathId, body: RoleChange, caller: TenantKeeper, session: Writing) -> None:
    """Change somebody's role. Owners may change everybody's, admins only step down themselves.

    The last owner stays one. Open invitations of who steps down end.
    """
    service.change_role(session, caller.actor, caller.tenant_id, caller.user_id, user_id, body.role)


@router.delete("/tenant/members/{user_id}", responses=describes(404, 409))
def remove_member(user_id: PathId, caller: TenantKeeper, session: Writing) -> Departure:
    """Remove somebody: owners may remove everybody, admins members.

    Their logins, API keys and links in this tenant end at once, what they have under way is cancelled, and the
    credits that they have left go to you, or to the first owner if you are none. Their songs and tasks stay.
    """
    return _departure(service.remove(session, caller.actor, caller.tenant_id, caller.user_id, user_id))


@router.post("/tenant/leave", responses=describes(409))
def leave(caller: LoggedIn, session: Writing) -> Departure:
    """Leave your tenant, as if you were removed; your credits here go to its first owner. The last owner can't.

    Who is in no tenant any more gets one of their own with the next login.
    """
    return _departure(service.leave(session, caller.actor, caller.scope))


@router.get("/tenant/tasks")
def tenant_tasks(
    request: Request,
    response: Response,
    caller: TenantReader,
    session: Reading,
    wiring: WiringOf,
    user_id: UUID | None = None,
    status: TaskStatus | None = None,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[TenantTask]:
    """Everybody's tasks, newest first, for owners and admins; the next page is in the `Link` header."""
    records = tasks.page(session, Scope(caller.tenant_id, user_id), status=status, before=cursor, limit=limit + 1)
    page = one_page(request, response, records, limit, lambda record: record.task.id)
    emails = users.emails(session, {record.task.user_id for record in page})
    return [_tenant_task(wiring, caller, record, emails[record.task.user_id]) for record in page]


@router.get("/tenant/uploads")
def tenant_uploads(
    request: Request,
    response: Response,
    caller: TenantReader,
    session: Reading,
    user_id: UUID | None = None,
    limit: Limit = 100,
    cursor: UUID | None = None,
) -> list[TenantSong]:
    """Everybody's songs, newest first, for owners and admins; the next page is in the `Link` header.

    Those of people who have left are yours to delete: DELETE /uploads/{upload_id}.
    """
    found = uploads.page(session, Scope(caller.tenant_id, user_id), before=cursor, limit=limit + 1)
    page = one_page(request, response, found, limit, lambda row: row.id)
    emails = users.emails(session, {row.user_id for row in page})
    return [
        TenantSong(
            upload_id=row.id,
            user_id=row.user_id,
            email=emails[row.user_id],
            filename=row.filename,
            duration=row.seconds,
            size=row.size,
            created_at=row.created_at,
        )
        for row in page
    ]


@router.post("/tenant/invitations", status_code=201, responses=describes(409, 422))
def invite(body: NewInvitation, caller: TenantKeeper, wiring: WiringOf) -> InvitationShown:
    """Invite somebody into your tenant. Only owners may invite admins; a former invitation of the address ends.

    The code is shown this once, and sent to the address where the service sends letters.
    """
    with wiring.database.write() as session:
        row, code = service.invite(
            wiring, session, caller.actor, caller.tenant_id, caller.user_id, body.email, body.role
        )
    sent = service.send_invitation(wiring, caller.email, row, code)
    return InvitationShown(**_invitation(row).model_dump(), code=code, sent=sent)


@router.get("/tenant/invitations")
def open_invitations(caller: TenantReader, session: Reading) -> list[InvitationView]:
    """Invitations that nobody has accepted yet, newest first, without those that expired or were revoked."""
    return [_invitation(row) for row in invitations.listed(session, caller.tenant_id)]


@router.delete("/tenant/invitations/{invitation_id}", status_code=204, responses=describes(404))
def revoke_invitation(invitation_id: PathId, caller: TenantKeeper, session: Writing) -> None:
    """Take an invitation back: its code is refused from now on."""
    service.revoke_invitation(session, caller.actor, caller.tenant_id, invitation_id)


@router.post("/invitations/accept", responses=describes(404, 409, 422))
def accept_invitation(body: InvitationCode, caller: LoggedIn, session: Writing) -> Joined:
    """Come into the tenant that invited your address. Go there with POST /tenants/{tenant_id}/switch."""
    row = joining.accept(session, caller.actor, caller.user_id, caller.email, body.code)
    return Joined.model_validate(
        {"tenant_id": row.tenant_id, "name": tenants.get(session, row.tenant_id).name, "role": row.role}
    )


def _tenant_view(wiring: Wiring, session: Session, caller: Caller) -> TenantView:
    row = tenants.get(session, caller.tenant_id)
    allowed = limits.in_force(session, wiring.settings, caller.tenant_id)
    used = limits.used(session, caller.tenant_id)
    wishes = [days for days in (row.retention_days, allowed.retention_days) if days is not None]
    view: dict[str, Any] = {
        "id": row.id,
        "name": row.name,
        "plan": row.plan,
        "role": caller.role,
        "members": tenants.count(session, caller.tenant_id),
        "shares_audio": row.shares_audio,
        "retention_days": row.retention_days,
        "retention_days_in_force": min(wishes, default=None),
        "limits": LimitsInForce(
            requests=allowed.requests or wiring.settings.limit.tenant,
            concurrent_tasks=allowed.concurrent_tasks,
            monthly_seconds=allowed.monthly_seconds,
            storage_bytes=allowed.storage_bytes,
        ),
        "used": Used(
            running=used.running,
            queued=used.queued,
            month_seconds=used.month_seconds,
            storage_bytes=used.stored_bytes,
        ),
        "created_at": row.created_at,
    }
    return TenantView.model_validate(view)


def _departure(gone: service.Gone) -> Departure:
    return Departure(
        user_id=gone.user_id,
        cancelled_tasks=gone.cancelled_tasks,
        credits=credit.shown(gone.credits),
        credits_to=gone.credits_to,
    )


def _tenant_task(wiring: Wiring, caller: Caller, record: ListedRecord, email: str) -> TenantTask:
    [row] = history_rows(wiring, [record], caller.way_in)
    mine = record.task.user_id == caller.user_id
    return TenantTask(
        task_id=row.task_id,
        user_id=record.task.user_id,
        email=email,
        status=row.status,
        filename=row.filename,
        model=row.model,
        duration=row.duration,
        credits=row.credits,
        error_code=row.error_code,
        created_at=row.created_at,
        finished_at=row.finished_at,
        stems=row.stems if mine or caller.tenant.shares_audio else [],
    )


def _invitation(row: TenantInvitation) -> InvitationView:
    return InvitationView.model_validate(row, from_attributes=True)
