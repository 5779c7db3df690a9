"""One entry and both balances at a time; what has expired is in a balance until it is taken, and can't be spent."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import SERVICE
from backend.credit import lot_repository, lots, repository
from backend.models import Transfer
from backend.problem import Problem
from backend.tenant.scope import Scope


class CreditsExhausted(Problem):
    status = 402
    code = "credits_exhausted"
    detail = "Your credits do not cover this."
    advice = "GET /api/v1/credits shows your balance; ask the operator for more credits."


def move(
    session: Session,
    scope: Scope,
    debit: str,
    credit: str,
    amount: int,
    kind: str,
    *,
    to: Scope | None = None,
    task_id: UUID | None = None,
    purchase_id: UUID | None = None,
    reason: str | None = None,
) -> Transfer:
    """From an account of this person or of the house to another; `to` names another's. Raises CreditsExhausted."""
    entry = Transfer(
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        debit_account_id=repository.account_id(session, scope, debit),
        credit_account_id=repository.account_id(session, to or scope, credit),
        amount=amount,
        kind=kind,
        task_id=task_id,
        purchase_id=purchase_id,
        to_user_id=to.user_id if to else None,
        reason=reason,
    )
    if not repository.move(session, scope, entry):
        raise CreditsExhausted
    return entry


def require_unexpired(session: Session, scope: Scope) -> None:
    """After a spend, under its lock: what has expired must still be there. Raises CreditsExhausted."""
    if not lot_repository.covered(session, scope):
        raise CreditsExhausted


def lock_available(session: Session, scope: Scope) -> int:
    """What is there, and changed by nobody else until the transaction ends; the house's account comes first."""
    ours, theirs = (repository.account_id(session, scope, kind) for kind in ("issued", "available"))
    return repository.lock(session, [ours, theirs])[theirs]


def expire(session: Session, scope: Scope) -> int:
    """Take what has expired of somebody whose account is locked, and the house's too; how much it was."""
    amount = lot_repository.empty_due(session, scope)
    if amount:
        entry = move(session, scope, "available", "issued", amount, "expiry")
        after = {"user_id": str(scope.user_id), "millicredits": amount}
        audit.record(session, SERVICE, "credits.expired", tenant_id=scope.tenant_id, target=entry.id, after=after)
    return amount


def reclaim(session: Session, scope: Scope, amount: int, kind: str, **more: str | UUID | None) -> None:
    """Back to where credits come from: of somebody whose account is locked and holds as much."""
    move(session, scope, "available", "issued", amount, kind, **more)  # type: ignore[arg-type]
    lots.take(session, scope, amount, expired_too=True)
