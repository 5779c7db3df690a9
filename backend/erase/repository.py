"""Every place where a word of somebody's stands, and how it goes from there.

What is taken from a whole tenant or from one person in it goes by a `Scope`; what belongs to the person alone, by
their id. Rows that others refer to stay, without a word in them; the ledger and the audit log stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import (
    Account,
    ApiKey,
    Artifact,
    Event,
    Idempotency,
    Invitation,
    LoginSession,
    Membership,
    Step,
    Task,
    Tenant,
    TenantInvitation,
    Ticket,
    Transfer,
    Upload,
    User,
    Webhook,
    WebhookDelivery,
)
from backend.tenant.scope import Scope, in_scope, in_tenant, serves_every_tenant

ERASED = "erased"
UNNAMED = "unnamed"
"""A tenant that lives on and had the address of somebody who is gone for its name, as a new one has its founder's."""


@dataclass(frozen=True, slots=True)
class Files:
    """What somebody has: ids with what names their files, and how much of it is still kept."""

    tasks: Sequence[tuple[UUID, str]]
    uploads: Sequence[tuple[UUID, str]]
    results: int
    bytes: int


@serves_every_tenant
def people_of(session: Session, tenant_id: UUID) -> list[UUID]:
    return list(session.scalars(select(Membership.user_id).where(Membership.tenant_id == tenant_id)))


@serves_every_tenant
def tenants_of(session: Session, user_id: UUID) -> list[UUID]:
    return list(session.scalars(select(Membership.tenant_id).where(Membership.user_id == user_id)))


@serves_every_tenant
def ever_in(session: Session, user_id: UUID) -> set[UUID]:
    """Tenants in which a person has an account, or had a place before they left."""
    return set(session.scalars(select(Account.tenant_id).where(Account.user_id == user_id, Account.kind == "held")))


def accounts(session: Session, scope: Scope) -> list[UUID]:
    """People who may have credits there."""
    statement = select(Account.user_id).where(
        in_scope(Account, scope), Account.kind == "available", Account.balance > 0
    )
    return [user_id for user_id in session.scalars(statement.order_by(Account.id)) if user_id is not None]


def processing(session: Session, scope: Scope) -> list[UUID]:
    statement = select(Task.id).where(in_scope(Task, scope), Task.status == "processing")
    return list(session.scalars(statement))


def files(session: Session, scope: Scope) -> Files:
    """Deleted ones too: a process that was deleting them may have died in the middle of it."""
    tasks = session.execute(select(Task.id, Task.source_name).where(in_scope(Task, scope))).all()
    uploads = session.execute(
        select(Upload.id, Upload.storage_key).where(in_scope(Upload, scope), Upload.sample.is_(False))
    ).all()
    songs = session.scalars(
        select(func.coalesce(func.sum(Upload.size), 0)).where(
            in_scope(Upload, scope), Upload.sample.is_(False), Upload.deleted_at.is_(None)
        )
    ).one()
    count, size = session.execute(
        select(func.count(), func.coalesce(func.sum(Artifact.size), 0))
        .select_from(Artifact)
        .join(Task, (Task.tenant_id == Artifact.tenant_id) & (Task.id == Artifact.task_id))
        .where(in_scope(Task, scope), Task.deleted_at.is_(None))
    ).one()
    return Files([(i, n) for i, n in tasks], [(i, k) for i, k in uploads], int(count), int(songs) + int(size))


def scrub(session: Session, scope: Scope) -> dict[str, int]:
    """Songs, tasks and what let in; how many rows went or lost their words."""
    mine = select(Task.id).where(in_scope(Task, scope))
    gone = {
        "logins": delete(LoginSession).where(in_scope(LoginSession, scope)),
        "api_keys": delete(ApiKey).where(in_scope(ApiKey, scope)),
        "tickets": delete(Ticket).where(in_scope(Ticket, scope)),
        "answers_to_repeat": delete(Idempotency).where(in_scope(Idempotency, scope)),
        "results": delete(Artifact).where(in_tenant(Artifact, scope.tenant_id), Artifact.task_id.in_(mine)),
        "receipts": update(Step)
        .where(in_tenant(Step, scope.tenant_id), Step.task_id.in_(mine), Step.receipt.is_not(None))
        .values(receipt=None),
        "events": update(Event).where(in_tenant(Event, scope.tenant_id), Event.task_id.in_(mine)).values(data={}),
        "tasks": update(Task)
        .where(in_scope(Task, scope))
        .values(
            source_name=ERASED,
            error_message=None,
            stage=None,
            deleted_at=func.coalesce(Task.deleted_at, database_now()),
        ),
        "uploads": update(Upload)
        .where(in_scope(Upload, scope))
        .values(filename=ERASED, sha256="", deleted_at=func.coalesce(Upload.deleted_at, database_now())),
    }
    return {name: _run(session, statement) for name, statement in gone.items()}


def forget_webhooks(session: Session, tenant_id: UUID, user_id: UUID) -> int:
    """Of a person who goes while the tenant stays: those of single tasks, and every message about theirs."""
    mine = select(Task.id).where(in_tenant(Task, tenant_id), Task.user_id == user_id)
    webhooks = _run(session, delete(Webhook).where(in_tenant(Webhook, tenant_id), Webhook.task_id.in_(mine)))
    _run(
        session,
        delete(WebhookDelivery).where(
            in_tenant(WebhookDelivery, tenant_id), WebhookDelivery.body.contains(str(user_id), autoescape=True)
        ),
    )
    return webhooks


def count_webhooks(session: Session, tenant_id: UUID) -> int:
    return session.scalars(select(func.count()).select_from(Webhook).where(in_tenant(Webhook, tenant_id))).one()


def count_transfers(session: Session, scope: Scope) -> int:
    return session.scalars(select(func.count()).select_from(Transfer).where(in_scope(Transfer, scope))).one()


def forget_invitations(session: Session, tenant_id: UUID) -> int:
    return _run(session, delete(TenantInvitation).where(in_tenant(TenantInvitation, tenant_id)))


def close_tenant(session: Session, tenant_id: UUID) -> None:
    session.execute(
        update(Tenant)
        .where(Tenant.id == tenant_id)
        .values(name=ERASED, erased_at=database_now(), suspended_reason=None)
    )


@serves_every_tenant
def close_person(session: Session, user_id: UUID) -> int:
    """In all their tenants; how many invitations named them."""
    email = select(User.email).where(User.id == user_id).scalar_subquery()
    invited = _run(
        session,
        delete(TenantInvitation).where(or_(TenantInvitation.email == email, TenantInvitation.accepted_by == user_id)),
    )
    invited += _run(
        session,
        update(Invitation).where(or_(Invitation.email == email, Invitation.used_by == user_id)).values(email=None),
    )
    theirs = select(Account.tenant_id).where(Account.user_id == user_id)
    named = func.lower(func.trim(Tenant.name)) == email
    _run(session, update(Tenant).where(Tenant.id.in_(theirs), named).values(name=UNNAMED))
    _run(
        session,
        delete(LoginSession).where(or_(LoginSession.user_id == user_id, LoginSession.impersonator_id == user_id)),
    )
    _run(
        session,
        update(User)
        .where(User.id == user_id)
        .values(
            email=f"{user_id}@erased.invalid",
            password_hash="",
            active=False,
            operator=False,
            email_verified_at=None,
            welcome_due=0,
            erased_at=database_now(),
        ),
    )
    return invited


@serves_every_tenant
def now(session: Session) -> Any:
    return session.scalars(select(database_now())).one()


def _run(session: Session, statement: Any) -> int:
    done = session.execute(statement.execution_options(synchronize_session=False))
    count: int = done.rowcount  # type: ignore[attr-defined]
    return count
