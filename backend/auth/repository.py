from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

from sqlalchemy import ColumnElement, Select, case, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.clock import database_now
from backend.models import LoginGuard, LoginSession, Membership, Tenant, TenantLimit, User
from backend.tenant.scope import Scope, in_scope, serves_every_tenant
from backend.tenant.standing import STANDING, Standing


@dataclass(frozen=True, slots=True)
class Present:
    """Somebody whose login is still good."""

    email: str
    role: str
    email_verified: bool
    operator: bool
    impersonator_id: UUID | None
    tenant: Standing


def open_session(session: Session, scope: Scope, seconds: float, impersonator_id: UUID | None = None) -> UUID:
    row = LoginSession(tenant_id=scope.tenant_id, user_id=scope.user_id, impersonator_id=impersonator_id)
    row.expires_at = database_now(seconds)
    session.add(row)
    session.flush()
    return row.id


def present(session: Session, user_id: UUID, tenant_id: UUID, session_id: UUID) -> Present | None:
    """One statement for every request: the person is active, in the tenant, and has not logged out."""
    row = session.execute(*_present(user_id, tenant_id, session_id)).one_or_none()
    if row is None:
        return None
    email, role, verified_at, operator, impersonator_id, *standing = cast("Sequence[Any]", row)
    return Present(email, role, verified_at is not None, operator, impersonator_id, Standing(*standing))


@built_once
def _present(user_id: UUID, tenant_id: UUID, session_id: UUID) -> Select[*tuple[Any, ...]]:
    return (
        select(
            User.email,
            Membership.role,
            User.email_verified_at,
            User.operator,
            LoginSession.impersonator_id,
            *STANDING,
        )
        .join(Membership, Membership.user_id == User.id)
        .join(Tenant, Tenant.id == Membership.tenant_id)
        .outerjoin(TenantLimit, TenantLimit.tenant_id == Tenant.id)
        .join(LoginSession, LoginSession.user_id == User.id)
        .where(
            User.id == user_id,
            Membership.tenant_id == tenant_id,
            Tenant.id == tenant_id,
            LoginSession.tenant_id == tenant_id,
            LoginSession.id == session_id,
            *_good(),
        )
    )


@serves_every_tenant
def still_good(session: Session, session_ids: Collection[UUID]) -> dict[UUID, UUID]:
    """Of these logins, those that `present` would find in good standing, with the tenants that they are in; each
    comes from somebody whom it found.
    """
    found = session.execute(
        select(LoginSession.id, LoginSession.tenant_id)
        .join(User, User.id == LoginSession.user_id)
        .join(Membership, (Membership.user_id == User.id) & (Membership.tenant_id == LoginSession.tenant_id))
        .join(Tenant, Tenant.id == LoginSession.tenant_id)
        .where(LoginSession.id.in_(session_ids), Tenant.suspended_at.is_(None), *_good())
    )
    return {row.id: row.tenant_id for row in found}


def _good() -> tuple[ColumnElement[bool], ...]:
    """Of a login that was joined with its person."""
    return User.active.is_(True), LoginSession.revoked_at.is_(None), LoginSession.expires_at > database_now()


@serves_every_tenant
def rotate(
    session: Session, session_id: UUID, generation: int, seconds: float, longest: timedelta
) -> LoginSession | None:
    """Spend a refresh token: of two that show the same one, one gets the row. The token says whose it is.

    However often it is done, a login ends when it is `longest` old.
    """
    row = session.scalars(
        update(LoginSession)
        .where(
            LoginSession.id == session_id,
            LoginSession.generation == generation,
            LoginSession.revoked_at.is_(None),
            LoginSession.expires_at > database_now(),
        )
        .values(generation=generation + 1, rotated_at=database_now(), expires_at=database_now(seconds))
        .returning(LoginSession)
    ).one_or_none()
    if row is not None and row.expires_at > row.created_at + longest:
        row.expires_at = row.created_at + longest
        session.flush()
    return row


@serves_every_tenant
def rotated_lately(session: Session, session_id: UUID, generation: int, seconds: float) -> LoginSession | None:
    """The login, if this refresh token was its newest until a moment ago. The token says whose it is."""
    return session.scalars(
        select(LoginSession).where(
            LoginSession.id == session_id,
            LoginSession.generation == generation + 1,
            LoginSession.revoked_at.is_(None),
            LoginSession.rotated_at > database_now(-seconds),
        )
    ).one_or_none()


@serves_every_tenant
def revoke_used_again(session: Session, session_id: UUID, generation: int) -> LoginSession | None:
    """End the login whose old refresh token was shown; the token says whose it is."""
    statement = (
        update(LoginSession)
        .where(LoginSession.id == session_id, LoginSession.generation > generation, LoginSession.revoked_at.is_(None))
        .values(revoked_at=database_now())
        .returning(LoginSession)
    )
    return session.scalars(statement).one_or_none()


@serves_every_tenant
def of_person(session: Session, user_id: UUID, *, before: UUID | None, limit: int) -> list[LoginSession]:
    """Those that are good, in all their tenants, newest first; to nobody but this person."""
    statement = (
        select(LoginSession)
        .join(User, User.id == LoginSession.user_id)
        .where(LoginSession.user_id == user_id, *_good())
        .order_by(LoginSession.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(LoginSession.id < before)
    return list(session.scalars(statement))


@serves_every_tenant
def revoke_of_person(session: Session, user_id: UUID, session_id: UUID) -> bool:
    """One that `of_person` shows; False for any other."""
    statement = (
        update(LoginSession)
        .where(
            LoginSession.user_id == user_id,
            LoginSession.id == session_id,
            LoginSession.revoked_at.is_(None),
            LoginSession.expires_at > database_now(),
        )
        .values(revoked_at=database_now())
        .returning(LoginSession.id)
        .execution_options(synchronize_session=False)
    )
    return session.scalars(statement).one_or_none() is not None


def revoke(session: Session, scope: Scope, session_id: UUID) -> None:
    session.execute(
        update(LoginSession)
        .where(in_scope(LoginSession, scope), LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
        .values(revoked_at=database_now())
    )


def revoke_all_in(session: Session, scope: Scope) -> None:
    session.execute(
        update(LoginSession)
        .where(in_scope(LoginSession, scope), LoginSession.revoked_at.is_(None))
        .values(revoked_at=database_now())
    )


def move(session: Session, scope: Scope, session_id: UUID, tenant_id: UUID) -> int | None:
    """Into another tenant of the same person; the number of its next refresh token, None for a login that ended."""
    return session.scalars(
        update(LoginSession)
        .where(in_scope(LoginSession, scope), LoginSession.id == session_id, LoginSession.revoked_at.is_(None))
        .values(tenant_id=tenant_id, generation=LoginSession.generation + 1, rotated_at=database_now())
        .returning(LoginSession.generation)
        .execution_options(synchronize_session=False)
    ).one_or_none()


@serves_every_tenant
def revoke_all(session: Session, user_id: UUID) -> None:
    """Everywhere: a person's password is the same in all their tenants. Those in which they act as others, too."""
    session.execute(
        update(LoginSession)
        .where(
            (LoginSession.user_id == user_id) | (LoginSession.impersonator_id == user_id),
            LoginSession.revoked_at.is_(None),
        )
        .values(revoked_at=database_now())
    )


@serves_every_tenant
def forget_expired(session: Session, older_seconds: float) -> None:
    """Not at once: what came back of a login that ended is still worth a look."""
    session.execute(delete(LoginSession).where(LoginSession.expires_at < database_now(-older_seconds)))


def count_failure(session: Session, sha256: str, forget_seconds: float) -> tuple[int, float]:
    """(failures with this one, seconds for which it is locked). Holds the row until the transaction ends."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(LoginGuard).values(sha256=sha256, failures=1, last_at=database_now())
    stale = LoginGuard.last_at < database_now(-forget_seconds)
    failures, locked_until, now = session.execute(
        statement.on_conflict_do_update(
            index_elements=[LoginGuard.sha256],
            set_={"failures": case((stale, 1), else_=LoginGuard.failures + 1), "last_at": database_now()},
        ).returning(LoginGuard.failures, LoginGuard.locked_until, database_now())
    ).one()
    return failures, (locked_until - now).total_seconds() if locked_until else 0.0


def lock(session: Session, sha256: str, seconds: float) -> None:
    session.execute(update(LoginGuard).where(LoginGuard.sha256 == sha256).values(locked_until=database_now(seconds)))


def take_back(session: Session, sha256: str) -> None:
    """One failure less, and no lock: it was none."""
    session.execute(
        update(LoginGuard)
        .where(LoginGuard.sha256 == sha256, LoginGuard.failures > 0)
        .values(failures=LoginGuard.failures - 1, locked_until=None)
    )


def forgive(session: Session, sha256: str) -> None:
    session.execute(delete(LoginGuard).where(LoginGuard.sha256 == sha256))


def forget_failures(session: Session, older_seconds: float) -> None:
    session.execute(delete(LoginGuard).where(LoginGuard.last_at < database_now(-older_seconds)))
