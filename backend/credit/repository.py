"""The ledger's tables: accounts with a running balance, transfers that only grow."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import CompoundSelect, func, literal, select, tuple_, update
from sqlalchemy.orm import Session

from backend.built_once import built_once
from backend.clock import database_now
from backend.models import Account, CreditLot, Transfer
from backend.models.account import SYSTEM_KINDS
from backend.tenant.scope import Scope, in_scope, in_tenant, serves_every_tenant


def open_accounts(session: Session, tenant_id: UUID, user_id: UUID) -> None:
    """Those that are not there: somebody who comes back to a tenant finds their own."""
    known = balances(session, Scope(tenant_id, user_id))
    wanted = (kind for kind in ("available", "held") if kind not in known)
    session.add_all(Account(tenant_id=tenant_id, user_id=user_id, kind=kind) for kind in wanted)
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
    """`available` and `held`, in millicredits; and `expired`, what of `available` is to be taken."""
    return {kind: int(balance) for kind, balance in session.execute(*_balances(scope))}


@built_once
def _balances(scope: Scope) -> CompoundSelect[str, int]:
    """One statement, so that what is taken meanwhile is in both of its parts or in neither."""
    accounts = select(Account.kind, func.sum(Account.balance)).where(in_scope(Account, scope)).group_by(Account.kind)
    now = select(database_now()).scalar_subquery()
    expired = select(literal("expired"), func.coalesce(func.sum(CreditLot.remaining), 0)).where(
        in_scope(CreditLot, scope), CreditLot.remaining > 0, CreditLot.expires_at <= now
    )
    return accounts.union_all(expired)


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


@serves_every_tenant
def lock(session: Session, accounts: Collection[UUID]) -> dict[UUID, int]:
    """Their balances, which nobody else changes until the transaction ends; taken in the order of `move`."""
    rows = session.execute(
        select(Account.id, Account.balance)
        .where(Account.id.in_(accounts))
        .order_by(Account.id)
        .with_for_update(key_share=True)
    )
    return {row.id: row.balance for row in rows}


@serves_every_tenant
def lock_tenant(session: Session, tenant_id: UUID) -> dict[UUID, int]:
    """What each of a tenant's people has who has something; the house's account is locked with theirs."""
    theirs = (Account.tenant_id == tenant_id) & (Account.kind == "available") & (Account.balance > 0)
    rows = session.execute(
        select(Account.user_id, Account.balance)
        .where(theirs | (Account.kind == "issued"))
        .order_by(Account.id)
        .with_for_update(key_share=True)
    )
    return {row.user_id: row.balance for row in rows if row.user_id is not None}


@serves_every_tenant
def lock_free(session: Session, people: Collection[Scope]) -> list[Scope]:
    """Those of these people whose credits nobody moves at the moment; nobody will until the transaction ends."""
    rows = session.execute(
        select(Account.tenant_id, Account.user_id)
        .where(
            tuple_(Account.tenant_id, Account.user_id).in_([(scope.tenant_id, scope.user_id) for scope in people]),
            Account.kind == "available",
        )
        .order_by(Account.id)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return [Scope(tenant, user) for tenant, user in rows if tenant is not None]


def of_task(session: Session, tenant_id: UUID, task_id: UUID, kind: str) -> Transfer | None:
    return session.scalars(
        select(Transfer).where(in_tenant(Transfer, tenant_id), Transfer.task_id == task_id, Transfer.kind == kind)
    ).one_or_none()


def entries(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Transfer]:
    """Newest first, and what others gave too; `before` is the id of the last entry already seen.

    Two ranges of two indexes, put together here: one statement for both would read the whole history.
    """
    own = select(Transfer).where(in_scope(Transfer, scope))
    received = select(Transfer).where(in_tenant(Transfer, scope.tenant_id), Transfer.to_user_id == scope.user_id)
    found: list[Transfer] = []
    for statement in (own, received):
        if before is not None:
            statement = statement.where(Transfer.id < before)
        found += session.scalars(statement.order_by(Transfer.id.desc()).limit(limit))
    return sorted(found, key=lambda entry: entry.id, reverse=True)[:limit]


def entries_between(
    session: Session, scope: Scope, first: UUID, end: UUID, *, after: UUID | None, limit: int
) -> list[Transfer]:
    """Oldest first, ids from `first` to before `end`; `after` is the id of the last entry already seen."""
    own = select(Transfer).where(in_scope(Transfer, scope))
    received = select(Transfer).where(in_tenant(Transfer, scope.tenant_id), Transfer.to_user_id == scope.user_id)
    found: list[Transfer] = []
    for statement in (own, received):
        statement = statement.where(Transfer.id >= first, Transfer.id < end)
        if after is not None:
            statement = statement.where(Transfer.id > after)
        found += session.scalars(statement.order_by(Transfer.id).limit(limit))
    return sorted(found, key=lambda entry: entry.id)[:limit]


def balance_before(session: Session, tenant_id: UUID, account: UUID, end: UUID) -> int:
    """Of an account, from its entries with ids before `end`."""
    incoming, outgoing = (
        session.scalar(
            select(func.coalesce(func.sum(Transfer.amount), 0)).where(
                in_tenant(Transfer, tenant_id), side == account, Transfer.id < end
            )
        )
        for side in (Transfer.credit_account_id, Transfer.debit_account_id)
    )
    return int(incoming or 0) - int(outgoing or 0)
