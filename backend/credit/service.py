"""Credits: held when a task is submitted, captured when it completes, released when it does not.

Every function works inside the caller's transaction, so that money and state change together or not at all.
Amounts are millicredits.
"""

from __future__ import annotations

import math
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import repository
from backend.credit.repository import Imbalance
from backend.models import Transfer
from backend.problem import Problem
from backend.settings import Credit
from backend.tenant.scope import Scope


class CreditsExhausted(Problem):
    status = 402
    code = "credits_exhausted"
    detail = "Your credits do not cover this."
    advice = "GET /api/v1/credits shows your balance; ask the operator for more credits."


def price(credit: Credit, seconds: float) -> int:
    """Of one step over `seconds` of counted audio: `price` for each started block."""
    return credit.price * max(1, math.ceil(seconds / credit.block_seconds))


def shown(amount: int) -> float:
    """Millicredits as the credits that people see."""
    return amount / 1_000


def open_system_accounts(session: Session) -> None:
    """Where credits come from and go to; made once for the whole service."""
    repository.open_system_accounts(session)


def open_account(session: Session, tenant_id: UUID, user_id: UUID, granted: int) -> None:
    repository.open_accounts(session, tenant_id, user_id)
    if granted:
        grant(session, tenant_id, user_id, granted, "welcome")


def grant(session: Session, tenant_id: UUID, user_id: UUID, amount: int, reason: str) -> None:
    _move(session, tenant_id, user_id, "issued", "available", amount, "grant", reason=reason)


def require(session: Session, scope: Scope, amount: int) -> None:
    """Raises CreditsExhausted with both figures; of parallel spends `hold` decides."""
    have = balance(session, scope)[0]
    if have < amount:
        raise CreditsExhausted(f"This costs {shown(amount):g} credits and you have {shown(have):g}.")


def hold(session: Session, tenant_id: UUID, user_id: UUID, amount: int, task_id: UUID) -> None:
    """Raises CreditsExhausted; the caller's transaction must then end without a commit."""
    if amount:
        _move(session, tenant_id, user_id, "available", "held", amount, "hold", task_id)


def capture(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    _settle(session, tenant_id, task_id, "earned", "capture")


def release(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    _settle(session, tenant_id, task_id, "available", "release")


def balance(session: Session, scope: Scope) -> tuple[int, int]:
    """(available, held)."""
    found = repository.balances(session, scope)
    return found.get("available", 0), found.get("held", 0)


def entries(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Transfer]:
    """Newest first, from after the entry `before`."""
    return repository.entries(session, scope, before=before, limit=limit)


def verify(session: Session) -> list[Imbalance]:
    """What the ledger can't explain; empty when every balance equals its entries."""
    return repository.imbalances(session)


def _settle(session: Session, tenant_id: UUID, task_id: UUID, into: str, kind: str) -> None:
    held = repository.held_for_task(session, tenant_id, task_id)
    if held is not None:  # a task that costs nothing has no hold
        _move(session, tenant_id, held.user_id, "held", into, held.amount, kind, task_id)


def _move(
    session: Session,
    tenant_id: UUID,
    user_id: UUID,
    debit: str,
    credit: str,
    amount: int,
    kind: str,
    task_id: UUID | None = None,
    reason: str | None = None,
) -> None:
    scope = Scope(tenant_id, user_id)
    transfer = Transfer(
        tenant_id=tenant_id,
        user_id=user_id,
        debit_account_id=repository.account_id(session, scope, debit),
        credit_account_id=repository.account_id(session, scope, credit),
        amount=amount,
        kind=kind,
        task_id=task_id,
        reason=reason,
    )
    if not repository.move(session, scope, transfer):
        raise CreditsExhausted
