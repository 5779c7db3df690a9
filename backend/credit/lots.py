"""Credits that expire are spent first, the soonest of them before the others.

Lots only say which part of a balance expires when; the balance itself is the ledger's. Every function is called
after the transfer that it belongs to, and so under the lock of the person's account.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import lot_repository
from backend.models import CreditLot
from backend.tenant.scope import Scope

AT_ONCE = 100

Taken = list[tuple[CreditLot, int]]
"""From which lots, and how much of each."""


def take(session: Session, scope: Scope, amount: int, *, expired_too: bool = False) -> Taken:
    """What of `amount` comes from lots; the rest of it never expires."""
    taken: Taken = []
    while amount and (lots := lot_repository.left(session, scope, AT_ONCE, expired_too=expired_too)):
        for lot in lots:
            part = min(amount, lot.remaining)
            if part:
                lot_repository.change(session, scope.tenant_id, lot.id, -part)
                taken.append((lot, part))
                amount -= part
    return taken


def take_for_task(session: Session, scope: Scope, amount: int, task_id: UUID) -> None:
    for lot, part in take(session, scope, amount):
        lot_repository.note_use(session, scope.tenant_id, task_id, lot.id, part)


def put_back(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    """Into the lots that they came from; in one that has expired since, nobody can spend them."""
    for use in lot_repository.uses(session, tenant_id, task_id):
        lot_repository.change(session, tenant_id, use.lot_id, use.amount)


def pass_on(session: Session, receiver: Scope, transfer_id: UUID, taken: Taken) -> None:
    """Given away, they expire no later."""
    parts: Counter[datetime] = Counter()
    for lot, part in taken:
        parts[lot.expires_at] += part
    for expires_at, amount in parts.items():
        lot_repository.add(session, receiver, transfer_id, amount, expires_at)
