"""What operators do with tenants, people and credits: each act in one transaction with its entry in the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.admin import repository
from backend.admin.repository import Ledger, TenantState, UserState
from backend.audit import service as audit
from backend.audit.service import Actor
from backend.auth import service as auth
from backend.credit import service as credit
from backend.erase import service as erasing
from backend.erase.service import Erasure
from backend.models import Membership, Tenant, User
from backend.payment import service as payments
from backend.problem import Problem
from backend.setting import service as setting
from backend.setting.service import Change
from backend.settings import Settings
from backend.tenant import limits, suspension
from backend.tenant import service as tenants
from backend.tenant.limits import Limits, TenantUnknown, Used
from backend.tenant.scope import Scope
from backend.tenant.service import Place
from backend.user import service as users
from backend.wiring import Wiring
from backend.worker import service as workers
from backend.worker.service import WorkerHealth


class PlanUnknown(Problem):
    status = 422
    code = "plan_unknown"
    advice = "The setting queue.plans names the plans."
    field = "plan"


class OwnTenantRefused(Problem):
    status = 409
    code = "not_own_tenant"
    detail = "An operator can't suspend or erase a tenant of their own: they would lock themselves out."
    advice = "Ask another operator, or use `vocal-remover admin`."


class TaskUnknown(Problem):
    status = 404
    code = "task_not_found"
    detail = "There is no such task."
    advice = "Check the id."


@dataclass(frozen=True, slots=True)
class TenantFile:
    """All that an operator sees of a tenant at once."""

    tenant: Tenant
    members: Sequence[tuple[Membership, User]]
    own: Limits
    in_force: Limits
    used: Used
    available: int
    held: int
    shortfall: int
    tasks: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class UserFile:
    user: User
    places: Sequence[Place]
    keys: int
    last_login: datetime | None


@dataclass(frozen=True, slots=True)
class Overview:
    """What an operator looks at first."""

    unfinished: Mapping[str, int]
    workers: Sequence[WorkerHealth]
    failed: Mapping[str, int]
    ledger: Ledger
    shortfall: int
    stored_bytes: int


def find_tenants(
    session: Session, *, part: str | None, state: TenantState | None, before: UUID | None, limit: int
) -> list[Tenant]:
    return repository.tenants(session, part=part, state=state, before=before, limit=limit)


def tenant_file(session: Session, settings: Settings, tenant_id: UUID) -> TenantFile:
    """Raises TenantUnknown."""
    tenant = repository.tenant(session, tenant_id)
    if tenant is None:
        raise TenantUnknown
    available, held = credit.balance(session, Scope(tenant_id, None))
    return TenantFile(
        tenant=tenant,
        members=repository.members(session, tenant_id),
        own=limits.get(session, tenant_id),
        in_force=limits.in_force(session, settings, tenant_id),
        used=limits.used(session, tenant_id),
        available=available,
        held=held,
        shortfall=payments.shortfall(session, tenant_id),
        tasks=repository.tasks_by_status(session, tenant_id),
    )


def set_plan(session: Session, settings: Settings, actor: Actor, tenant_id: UUID, plan: str) -> None:
    """Raises PlanUnknown, TenantUnknown."""
    if plan not in settings.queue.plans:
        raise PlanUnknown(f"There is no such plan; there are {', '.join(settings.queue.plans)}.")
    tenant = repository.tenant(session, tenant_id, lock=True)
    if tenant is None:
        raise TenantUnknown
    before = tenant.plan
    tenants.set_plan(session, tenant_id, plan)
    audit.record(
        session,
        actor,
        "tenant.plan_changed",
        tenant_id=tenant_id,
        target=tenant_id,
        before={"plan": before},
        after={"plan": plan},
    )


def set_limits(session: Session, actor: Actor, tenant_id: UUID, changes: Mapping[str, Any]) -> None:
    """What `changes` does not name stays; None: as the settings say. Raises TenantUnknown, LimitRefused."""
    repository.tenant(session, tenant_id, lock=True)  # of two at once, each changes what the other left
    limits.set(session, actor, tenant_id, replace(limits.get(session, tenant_id), **changes))


def suspend(session: Session, actor: Actor, tenant_id: UUID, reason: str) -> None:
    """Raises TenantUnknown, OwnTenantRefused."""
    _spare_own(session, actor, tenant_id)
    suspension.suspend(session, actor, tenant_id, reason)


def resume(session: Session, actor: Actor, tenant_id: UUID) -> None:
    """Raises TenantUnknown."""
    suspension.resume(session, actor, tenant_id)


def erase(wiring: Wiring, actor: Actor, tenant_id: UUID, name: str, reason: str) -> Erasure:
    """As its owner could. Raises TenantUnknown, TenantNameWrong, OwnTenantRefused, LastOperator."""
    with wiring.database.read() as session:
        found = repository.tenant(session, tenant_id)
        if found is None or found.erased_at is not None:
            raise TenantUnknown
        erasing.require_name(session, tenant_id, name)
        _spare_own(session, actor, tenant_id)
    return erasing.erase_tenant(wiring, actor, tenant_id, reason)


def find_users(
    session: Session, *, part: str | None, state: UserState | None, before: UUID | None, limit: int
) -> list[User]:
    return repository.users(session, part=part, state=state, before=before, limit=limit)


def user_file(session: Session, user_id: UUID) -> UserFile:
    """Raises NoSuchPerson."""
    user = users.by_id(session, user_id)
    if user is None:
        raise users.NoSuchPerson
    return UserFile(
        user=user,
        places=tenants.places(session, user_id),
        keys=repository.keys(session, user_id),
        last_login=repository.last_login(session, user_id),
    )


def deactivate(session: Session, actor: Actor, user_id: UUID, reason: str) -> None:
    """Logins end for good; keys are good again when the person is. Raises as `users.set_active`."""
    if users.set_active(session, actor, user_id, False, reason):
        auth.logout_everywhere(session, user_id, also_keys=False)


def activate(session: Session, actor: Actor, user_id: UUID) -> None:
    """Raises NoSuchPerson."""
    users.set_active(session, actor, user_id, True, None)


def logout(session: Session, actor: Actor, user_id: UUID, *, also_keys: bool) -> None:
    """Raises NoSuchPerson."""
    users.require(session, user_id)
    auth.end_logins(session, actor, users.home_tenant(session, user_id), user_id, also_keys=also_keys)


def set_operator(session: Session, actor: Actor, user_id: UUID, operator: bool) -> None:
    """Whoever stops being one stops at once, and acts as nobody else any more. Raises as `users.set_operator`."""
    if users.set_operator(session, actor, user_id, operator) and not operator:
        auth.logout_everywhere(session, user_id, also_keys=False)


def refund(session: Session, actor: Actor, task_id: UUID, reason: str) -> int:
    """Millicredits that a completed task cost, given back. Raises TaskUnknown and as `credit.refund`."""
    tenant_id = repository.tenant_of_task(session, task_id)
    if tenant_id is None:
        raise TaskUnknown
    given = credit.refund(session, tenant_id, task_id, reason)
    after = {"millicredits": given.amount, "user_id": str(given.user_id)}
    audit.record(session, actor, "credits.refunded", tenant_id=tenant_id, target=task_id, after=after, reason=reason)
    return given.amount


def change_setting(session: Session, environment: Settings, actor: Actor, name: str, value: Any) -> None:
    """Raises SettingUnknown, SettingInvalid."""
    _record_setting(session, actor, "setting.changed", name, setting.change(session, environment, name, value))


def unset_setting(session: Session, environment: Settings, actor: Actor, name: str) -> None:
    """Raises SettingUnknown."""
    _record_setting(session, actor, "setting.unset", name, setting.unset(session, environment, name))


def _spare_own(session: Session, actor: Actor, tenant_id: UUID) -> None:
    if actor.user_id is not None and tenants.role_of(session, tenant_id, actor.user_id) is not None:
        raise OwnTenantRefused


def _record_setting(session: Session, actor: Actor, action: str, name: str, change: Change | None) -> None:
    if change is not None:
        before, after = {"value": change.before}, {"value": change.after}
        audit.record(session, actor, action, target=name, before=before, after=after)


def overview(session: Session, settings: Settings) -> Overview:
    day_ago = repository.now(session) - timedelta(days=1)
    return Overview(
        unfinished=repository.tasks_by_status(session),
        workers=workers.health(session, settings.worker.heartbeat_seconds),
        failed=repository.failed_since(session, day_ago),
        ledger=repository.ledger(session),
        shortfall=payments.shortfall(session),
        stored_bytes=repository.stored_bytes(session),
    )
