"""What operators are shown, over HTTP and at the command line."""

from __future__ import annotations

from dataclasses import asdict

from backend.admin.schemas import (
    LedgerState,
    LimitValues,
    MemberRow,
    OverviewView,
    PlaceRow,
    SettingView,
    TenantDetail,
    TenantRow,
    UsedValues,
    UserDetail,
    UserRow,
    WorkerRow,
)
from backend.admin.service import Overview, TenantFile, UserFile
from backend.credit.service import shown
from backend.models import Tenant, User
from backend.setting.service import Known


def tenant_row(tenant: Tenant) -> TenantRow:
    return TenantRow(
        id=tenant.id,
        name=tenant.name,
        plan=tenant.plan,
        suspended_at=tenant.suspended_at,
        suspended_reason=tenant.suspended_reason,
        erased_at=tenant.erased_at,
        created_at=tenant.created_at,
    )


def tenant_detail(file: TenantFile) -> TenantDetail:
    return TenantDetail(
        **tenant_row(file.tenant).model_dump(),
        members=[
            MemberRow(
                user_id=user.id,
                email=user.email,
                role=membership.role,
                active=user.active,
                since=membership.created_at,
            )
            for membership, user in file.members
        ],
        limits=LimitValues(**asdict(file.own)),
        in_force=LimitValues(**asdict(file.in_force)),
        used=UsedValues(**asdict(file.used)),
        credits=shown(file.available),
        held=shown(file.held),
        shortfall=shown(file.shortfall),
        tasks=dict(file.tasks),
    )


def user_row(user: User) -> UserRow:
    return UserRow(
        id=user.id,
        email=user.email,
        active=user.active,
        operator=user.operator,
        email_verified=user.email_verified_at is not None,
        erased_at=user.erased_at,
        created_at=user.created_at,
    )


def user_detail(file: UserFile) -> UserDetail:
    return UserDetail(
        **user_row(file.user).model_dump(),
        tenants=[
            PlaceRow(tenant_id=place.tenant_id, name=place.name, role=place.role, suspended=place.suspended)
            for place in file.places
        ],
        keys=file.keys,
        last_login=file.last_login,
    )


def overview(found: Overview) -> OverviewView:
    ledger = found.ledger
    return OverviewView(
        queued=found.unfinished.get("queued", 0),
        running=found.unfinished.get("processing", 0),
        workers=[
            WorkerRow(
                name=worker.name,
                host=worker.host,
                ok=worker.ok,
                model=worker.warm_model,
                device=worker.device,
                reason=worker.reason,
            )
            for worker in found.workers
        ],
        failed=dict(found.failed),
        ledger=LedgerState(
            balanced=ledger.available + ledger.held + ledger.issued + ledger.earned == 0,
            available=shown(ledger.available),
            held=shown(ledger.held),
            issued=shown(ledger.issued),
            earned=shown(ledger.earned),
        ),
        shortfall=shown(found.shortfall),
        stored_bytes=found.stored_bytes,
    )


def setting(known: Known) -> SettingView:
    return SettingView(
        name=known.name,
        value=known.value,
        environment=known.environment,
        changed=known.changed,
        meaning=known.meaning,
    )
