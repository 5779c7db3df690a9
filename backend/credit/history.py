"""What happened to a person's credits."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import repository
from backend.identity import first_id
from backend.models import Transfer
from backend.tenant.scope import Scope


def entries(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Transfer]:
    """Newest first, from after the entry `before`; what members gave to this person too."""
    return repository.entries(session, scope, before=before, limit=limit)


def entries_between(
    session: Session, scope: Scope, start: datetime, end: datetime, *, after: UUID | None, limit: int
) -> list[Transfer]:
    """Oldest first, from after the entry `after`."""
    return repository.entries_between(session, scope, first_id(start), first_id(end), after=after, limit=limit)


def balance_at(session: Session, scope: Scope, moment: datetime) -> int:
    """What could be spent then."""
    return repository.balance_before(session, scope.tenant_id, available_account(session, scope), first_id(moment))


def available_account(session: Session, scope: Scope) -> UUID:
    return repository.account_id(session, scope, "available")


def change(entry: Transfer, account: UUID) -> int:
    """What it did to this account."""
    return entry.amount * ((entry.credit_account_id == account) - (entry.debit_account_id == account))
