"""What a tenant may use: set by the operator, else by the settings, and held to in the transaction that uses it.

Where there is no limit nothing is counted and nobody waits.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.models import TenantLimit
from backend.problem import Problem
from backend.settings import Settings
from backend.settings.usage import rates
from backend.tenant import limit_repository as repository
from backend.tenant import service as tenants
from backend.tenant.scope import Scope

Number = TypeVar("Number", int, float)
SLACK = timedelta(days=1)
"""What the clock of a host that makes ids may be behind the database's."""


class TenantUnknown(Problem):
    status = 404
    code = "tenant_not_found"
    detail = "There is no such tenant."
    advice = "Check the id."


class LimitRefused(Problem):
    status = 422
    code = "limit_invalid"
    advice = "A rate is written like `3000 per minute`; other limits are numbers, and none takes the setting's."


class AudioMinutesUsedUp(Problem):
    status = 429
    code = "audio_minutes_used_up"
    advice = "Wait for the next month, send less, or ask the operator of the service for more."

    def __init__(self, used: float, allowed: float, wanted: float, wait_seconds: int) -> None:
        super().__init__(
            f"This month {used / 60:.2f} of your tenant's {allowed / 60:.2f} minutes of audio are used, "
            f"and this needs {wanted / 60:.2f}."
        )
        self.headers = {"Retry-After": str(wait_seconds)}


class StorageUsedUp(Problem):
    status = 413
    code = "storage_used_up"
    advice = "Delete songs and tasks that you don't need any more, or ask the operator of the service for more room."

    def __init__(self, used: int, allowed: int, wanted: int, coming: int = 0) -> None:
        more = f"; {coming / 1e6:.1f} MB may still come by links" if coming else ""
        needs = f", and this needs {wanted / 1e6:.1f} MB" if wanted else ""
        super().__init__(
            f"Your tenant keeps {used / 1e6:.1f} MB of the {allowed / 1e6:.1f} MB that it may{more}{needs}."
        )


@dataclass(frozen=True, slots=True)
class Limits:
    """None: as the settings say, or, of what is in force, no limit."""

    requests: str | None = None
    concurrent_tasks: int | None = None
    monthly_seconds: float | None = None
    storage_bytes: int | None = None
    retention_days: int | None = None


@dataclass(frozen=True, slots=True)
class Used:
    running: int
    queued: int
    month_seconds: float
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody who may order and send, and up to what."""

    tenant_id: UUID
    limits: Limits


def get(session: Session, tenant_id: UUID) -> Limits:
    """What the operator has set; raises TenantUnknown."""
    if repository.tenant(session, tenant_id) is None:
        raise TenantUnknown
    return _of_row(repository.get(session, tenant_id))


def set(session: Session, actor: Actor, tenant_id: UUID, limits: Limits, reason: str | None = None) -> None:
    """All of them at once; raises TenantUnknown, LimitRefused."""
    _check(limits)
    if repository.tenant(session, tenant_id, lock=True) is None:
        raise TenantUnknown
    before = _of_row(repository.get(session, tenant_id))
    repository.change(session, tenant_id, asdict(limits))
    audit.record(
        session,
        actor,
        "tenant.limits_changed",
        tenant_id=tenant_id,
        target=tenant_id,
        before=asdict(before),
        after=asdict(limits),
        reason=reason,
    )


def in_force(session: Session, settings: Settings, tenant_id: UUID) -> Limits:
    """What holds for a tenant now; of retention the operator's part."""
    return _in_force(settings, repository.get(session, tenant_id))


def used(session: Session, tenant_id: UUID) -> Used:
    since = _month(repository.now(session))
    return Used(
        running=repository.count_tasks(session, tenant_id, "processing"),
        queued=repository.count_tasks(session, tenant_id, "queued"),
        month_seconds=repository.submitted_seconds(session, tenant_id, since, since - SLACK),
        stored_bytes=repository.stored_bytes(session, tenant_id),
    )


def admit(session: Session, settings: Settings, scope: Scope) -> Admitted:
    """Before anything is ordered or kept for somebody: they stay in their tenant, which is not erased meanwhile.

    Where a limit has to be counted, others of the tenant wait here, so that each sees what the one before has used.
    Raises MembershipEnded.
    """
    limits = in_force(session, settings, scope.tenant_id)
    if limits.monthly_seconds is not None or limits.storage_bytes is not None:
        # Before the membership is held: who removes a member locks the tenant first, too.
        tenants.lock(session, scope.tenant_id)
    tenants.require_member(session, scope)
    return Admitted(scope.tenant_id, limits)


def look(session: Session, settings: Settings, tenant_id: UUID) -> Admitted:
    """To see early what would be refused; holds nothing."""
    return Admitted(tenant_id, in_force(session, settings, tenant_id))


def use_audio(session: Session, admitted: Admitted, seconds: float) -> None:
    """Seconds of songs that this transaction orders. Raises AudioMinutesUsedUp."""
    allowed, tenant_id = admitted.limits.monthly_seconds, admitted.tenant_id
    if allowed is None:
        return
    now = repository.now(session)
    since = _month(now)
    spent = repository.submitted_seconds(session, tenant_id, since, since - SLACK)
    if spent + seconds > allowed:
        wait = (_month(since + timedelta(days=32)) - now).total_seconds()
        raise AudioMinutesUsedUp(spent, allowed, seconds, int(wait) + 1)


def use_storage(session: Session, admitted: Admitted, size: int, coming: int = 0) -> None:
    """Bytes of a song that this transaction keeps; 0: is there any room left? Raises StorageUsedUp.

    `coming`: so many may come before these.

    What tasks are about to write is known to nobody yet: by their results a tenant may get over its limit.
    """
    allowed, tenant_id = admitted.limits.storage_bytes, admitted.tenant_id
    if allowed is None:
        return
    kept = repository.stored_bytes(session, tenant_id)
    if kept + coming + size > allowed or (not size and kept >= allowed):
        raise StorageUsedUp(kept, allowed, size, coming)


def _in_force(settings: Settings, row: TenantLimit | None) -> Limits:
    own, usual = _of_row(row), settings.tenant
    minutes = usual.monthly_minutes
    return Limits(
        requests=own.requests or settings.limit.tenant,
        concurrent_tasks=_first(own.concurrent_tasks, usual.concurrent_tasks),
        monthly_seconds=_first(own.monthly_seconds, None if minutes is None else minutes * 60),
        storage_bytes=_first(own.storage_bytes, usual.storage_bytes),
        retention_days=_first(own.retention_days, usual.retention_days),
    )


def _first(own: Number | None, usual: Number | None) -> Number | None:
    return usual if own is None else own


def _of_row(row: TenantLimit | None) -> Limits:
    if row is None:
        return Limits()
    return Limits(row.requests, row.concurrent_tasks, row.monthly_seconds, row.storage_bytes, row.retention_days)


def _check(limits: Limits) -> None:
    if limits.requests is not None:
        try:
            rates(limits.requests)
        except ValueError as error:
            raise LimitRefused(f"{error}.") from None
    for name, least in (("concurrent_tasks", 1), ("monthly_seconds", 0), ("storage_bytes", 0), ("retention_days", 1)):
        value = getattr(limits, name)
        if value is not None and not value >= least:
            raise LimitRefused(f"{name} is at least {least}.")


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
