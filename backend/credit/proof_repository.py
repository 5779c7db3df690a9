"""Proof that the ledger is right: everything that is written down twice, compared.

Each comparison is one statement, so that what is paid while it runs is in both or in neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Subquery, case, func, or_, select
from sqlalchemy.orm import Session

from backend.models import Account, CreditLot, CreditLotUse, Purchase, Task, Transfer
from backend.models.task import FINISHED
from backend.tenant.scope import serves_every_tenant

SETTLEMENTS = ("capture", "release")


@dataclass(frozen=True, slots=True)
class Imbalance:
    """Something the ledger does not explain."""

    what: str
    expected: int
    found: int


def imbalances(session: Session) -> list[Imbalance]:
    """Accounts, tasks, refunds, credits that expire, and purchases, each against their entries."""
    return [
        wrong for part in (_accounts, _tasks, _refunds, _lots, _lots_of_people, _purchases) for wrong in part(session)
    ]


@serves_every_tenant
def _accounts(session: Session) -> Iterator[Imbalance]:
    """Every account against its entries, all accounts together against zero."""
    debits, credits = (
        select(side.label("account"), func.sum(Transfer.amount).label("amount")).group_by(side).subquery()
        for side in (Transfer.debit_account_id, Transfer.credit_account_id)
    )
    expected = func.coalesce(credits.c.amount, 0) - func.coalesce(debits.c.amount, 0)
    accounts = session.execute(
        select(Account.id, Account.kind, expected, Account.balance)
        .outerjoin(debits, debits.c.account == Account.id)
        .outerjoin(credits, credits.c.account == Account.id)
        .where(expected != Account.balance)
    )
    for account, kind, entries, balance in accounts:
        yield Imbalance(f"account {account} ({kind})", int(entries), balance)
    total = int(session.scalar(select(func.sum(Account.balance))) or 0)
    if total:
        yield Imbalance("sum of all accounts", 0, total)


@serves_every_tenant
def _tasks(session: Session) -> Iterator[Imbalance]:
    """Every finished task is settled for what it held, no other is."""
    settled, held = _sum_of(*SETTLEMENTS), _sum_of("hold")
    tasks = session.execute(
        select(Task.id, Task.status, held, settled)
        .join(Transfer, Transfer.task_id == Task.id)
        .group_by(Task.id, Task.status)
        .having(settled != case((Task.status.in_(FINISHED), held), else_=0))
    )
    for task, status, expected, paid in tasks:
        yield Imbalance(f"task {task} ({status})", int(expected) if status in FINISHED else 0, int(paid))


@serves_every_tenant
def _refunds(session: Session) -> Iterator[Imbalance]:
    captured, refunded = _sum_of("capture"), _sum_of("refund")
    tasks = session.execute(
        select(Transfer.task_id, captured, refunded)
        .where(Transfer.kind.in_(("capture", "refund")))
        .group_by(Transfer.task_id)
        .having(refunded > captured)
    )
    for task, paid, back in tasks:
        yield Imbalance(f"refund of task {task}", int(paid), int(back))


@serves_every_tenant
def _lots(session: Session) -> Iterator[Imbalance]:
    """What is left of an entry that expires, and held of it, is not more than the entry was."""
    open_uses = _open_uses()
    left = func.sum(CreditLot.remaining + func.coalesce(open_uses.c.amount, 0))
    lots = session.execute(
        select(Transfer.id, Transfer.amount, left)
        .join(CreditLot, CreditLot.transfer_id == Transfer.id)
        .outerjoin(open_uses, open_uses.c.lot_id == CreditLot.id)
        .group_by(Transfer.id, Transfer.amount)
        .having(left > Transfer.amount)
    )
    for entry, amount, found in lots:
        yield Imbalance(f"expiring credits of entry {entry}", amount, int(found))


@serves_every_tenant
def _lots_of_people(session: Session) -> Iterator[Imbalance]:
    """A person's expiring credits are part of what they can spend; and those put aside, of what is put aside."""
    open_uses = _open_uses()
    remaining = select(CreditLot.tenant_id, CreditLot.user_id, func.sum(CreditLot.remaining).label("amount")).group_by(
        CreditLot.tenant_id, CreditLot.user_id
    )
    aside = (
        select(CreditLot.tenant_id, CreditLot.user_id, func.sum(open_uses.c.amount).label("amount"))
        .join(open_uses, open_uses.c.lot_id == CreditLot.id)
        .group_by(CreditLot.tenant_id, CreditLot.user_id)
    )
    for kind, part in (("available", remaining.subquery()), ("held", aside.subquery())):
        people = session.execute(
            select(Account.id, Account.balance, part.c.amount)
            .join(part, (part.c.tenant_id == Account.tenant_id) & (part.c.user_id == Account.user_id))
            .where(Account.kind == kind, part.c.amount > Account.balance)
        )
        for account, balance, amount in people:
            yield Imbalance(f"expiring credits of account {account} ({kind})", balance, int(amount))


@serves_every_tenant
def _purchases(session: Session) -> Iterator[Imbalance]:
    """A purchase is paid when there is one entry of its amount; what was taken back and what was missing make it up."""
    entries = (
        select(Transfer.purchase_id, _sum_of("purchase").label("bought"), _sum_of("chargeback").label("back"))
        .where(Transfer.purchase_id.is_not(None))
        .group_by(Transfer.purchase_id)
        .subquery()
    )
    bought, back = (func.coalesce(entries.c[name], 0) for name in ("bought", "back"))
    refunded = Purchase.status == "refunded"
    # One that was taken back before it was paid never brought credits.
    paid = case((refunded & (bought == 0), 0), (refunded | (Purchase.status == "paid"), Purchase.amount), else_=0)
    returned, due = back + Purchase.shortfall, case((refunded, bought), else_=Purchase.returned)
    purchases = session.execute(
        select(Purchase.id, Purchase.status, paid, bought, due, returned)
        .outerjoin(entries, entries.c.purchase_id == Purchase.id)
        .where(or_(paid != bought, due != returned))
    )
    for purchase, status, *figures in purchases:
        expected, found, expected_back, found_back = map(int, figures)
        if expected != found:
            yield Imbalance(f"purchase {purchase} ({status})", expected, found)
        if expected_back != found_back:
            yield Imbalance(f"purchase {purchase} ({status}), taken back", expected_back, found_back)


def _sum_of(*kinds: str) -> ColumnElement[int]:
    return func.sum(case((Transfer.kind.in_(kinds), Transfer.amount), else_=0))


@serves_every_tenant
def _open_uses() -> Subquery:
    """By lot: how much of it tasks that are not settled hold."""
    settled = select(Transfer.id).where(Transfer.task_id == CreditLotUse.task_id, Transfer.kind.in_(SETTLEMENTS))
    return (
        select(CreditLotUse.lot_id, func.sum(CreditLotUse.amount).label("amount"))
        .where(~settled.exists())
        .group_by(CreditLotUse.lot_id)
        .subquery()
    )
