"""The ledger's tables: accounts with a running balance, transfers that only grow."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import case, func, select, update
from sqlalchemy.orm import Session

from backend.models import Account, Task, Transfer
from backend.models.account import SYSTEM_KINDS
from backend.models.task import FINISHED
from backend.tenant.scope import Scope, in_scope, serves_every_tenant


def open_accounts(session: Session, tenant_id: UUID, user_id: UUID) -> None:
    session.add_all(Account(tenant_id=tenant_id, user_id=user_id, kind=kind) for kind in ("available", "held"))
    session.flush()


@serves_every_tenant
def open_system_accounts(session: Session) -> None:
    known = set(session.scalars(select(Account.kind).where(Account.user_id.is_(None))))
    session.add_all(Account(kind=kind) for kind in SYSTEM_KINDS if kind not in known)
    session.flush()


def account_id(session: Session, scope: Scope, kind: str) -> UUID:
    if kind in SYSTEM_KINDS:
        return _system_account_id(session, kind)
    return session.scalars(select(Account.id).where(in_scope(Account, scope), Account.kind == kind)).one()


@serves_every_tenant
def _system_account_id(session: Session, kind: str) -> UUID:
    """System accounts belong to no tenant."""
    return session.scalars(select(Account.id).where(Account.user_id.is_(None), Account.kind == kind)).one()


def balances(session: Session, scope: Scope) -> dict[str, int]:
    """`available` and `held`, in millicredits."""
    rows = session.execute(
        select(Account.kind, func.sum(Account.balance)).where(in_scope(Account, scope)).group_by(Account.kind)
    )
    return {kind: int(balance) for kind, balance in rows}


@serves_every_tenant
def move(session: Session, scope: Scope, transfer: Transfer) -> bool:
    """Write one transfer and both balances; False when the debited account holds too little.

    Both rows are changed in the order of their ids: two transfers between the same accounts in opposite
    directions would otherwise wait for each other for ever. No scope: one of the two is often a system account,
    and `account_id` found both for their owner.
    """
    changes = {transfer.debit_account_id: -transfer.amount, transfer.credit_account_id: transfer.amount}
    for account, change in sorted(changes.items()):
        enough = (Account.balance + change >= 0) | (Account.kind == "issued")
        statement = update(Account).where(Account.id == account, enough).values(balance=Account.balance + change)
        if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
            return False
    session.add(transfer)
    session.flush()
    return True


def held_for_task(session: Session, tenant_id: UUID, task_id: UUID) -> Transfer | None:
    return session.scalars(
        select(Transfer).where(Transfer.tenant_id == tenant_id, Transfer.task_id == task_id, Transfer.kind == "hold")
    ).one_or_none()


def entries(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Transfer]:
    """Newest first; `before` is the id of the last entry already seen."""
    statement = select(Transfer).where(in_scope(Transfer, scope)).order_by(Transfer.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Transfer.id < before)
    return list(session.scalars(statement))


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Something the ledger does not explain."""

    what: str
    expected: int
    found: int


@serves_every_tenant
def imbalances(session: Session) -> list[Imbalance]:
    """Every account against its entries, all accounts against zero, every finished task against its hold."""
    debits = (
        select(Transfer.debit_account_id.label("account"), func.sum(Transfer.amount).label("amount"))
        .group_by(Transfer.debit_account_id)
        .subquery()
    )
    credits = (
        select(Transfer.credit_account_id.label("account"), func.sum(Transfer.amount).label("amount"))
        .group_by(Transfer.credit_account_id)
        .subquery()
    )
    expected = func.coalesce(credits.c.amount, 0) - func.coalesce(debits.c.amount, 0)
    accounts = session.execute(
        select(Account.id, Account.kind, expected, Account.balance)
        .outerjoin(debits, debits.c.account == Account.id)
        .outerjoin(credits, credits.c.account == Account.id)
        .where(expected != Account.balance)
    )
    found = [
        Imbalance(f"account {account} ({kind})", int(entries), balance) for account, kind, entries, balance in accounts
    ]
    total = int(session.scalar(select(func.sum(Account.balance))) or 0)
    if total:
        found.append(Imbalance("sum of all accounts", 0, total))

    settlement = func.sum(case((Transfer.kind.in_(("capture", "release")), Transfer.amount), else_=0))
    hold = func.sum(case((Transfer.kind == "hold", Transfer.amount), else_=0))
    tasks = session.execute(
        select(Task.id, Task.status, hold, settlement)
        .join(Transfer, Transfer.task_id == Task.id)
        .group_by(Task.id, Task.status)
        .having(settlement != case((Task.status.in_(FINISHED), hold), else_=0))
    )
    found += [
        Imbalance(f"task {task} ({status})", int(held) if status in FINISHED else 0, int(paid))
        for task, status, held, paid in tasks
    ]
    return found
