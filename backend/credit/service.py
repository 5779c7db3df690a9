"""Credits: held when a task is submitted, captured when it completes, released when it does not.

Every function works inside the caller's transaction, so that money and state change together or not at all.
Amounts are millicredits. Who did it and why stands in the audit log, where the caller writes it.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.credit import ledger, lot_repository, lots, proof_repository, repository
from backend.credit.ledger import CreditsExhausted as CreditsExhausted
from backend.credit.ledger import move
from backend.credit.proof_repository import Imbalance
from backend.models import Transfer
from backend.problem import Problem
from backend.settings import Credit
from backend.tenant import service as tenants
from backend.tenant.scope import Scope

SHOWN_LOTS = 100
LONGEST_GRANT = timedelta(days=36_525)


class MemberUnknown(Problem):
    status = 404
    code = "member_not_found"
    detail = "Nobody with this id is in your tenant."
    advice = "Check the id."


class NothingToTransfer(Problem):
    status = 422
    code = "nothing_to_transfer"
    detail = "A transfer takes more than 0 credits to somebody else."
    advice = "Name another member and an amount of at least 0.001 credits."


class NothingToRefund(Problem):
    status = 409
    code = "nothing_to_refund"
    detail = "This task was not paid."
    advice = "Only a completed task that cost credits can be refunded."


class GrantExpiryRefused(Problem):
    status = 422
    code = "grant_expiry_invalid"
    detail = "Credits expire in the future, and within a hundred years."
    advice = "Give a time in the future, or none."
    field = "expires_at"


class NobodyToRefund(Problem):
    status = 409
    code = "nobody_to_refund"
    detail = "The tenant of this task was erased: nobody is left there who could have the credits."
    advice = "Grant credits to a person in another tenant, if they are to have them."


class AlreadyRefunded(Problem):
    status = 409
    code = "already_refunded"
    detail = "This task was refunded before."
    advice = "A task is refunded once; grant credits for anything more."


def price(credit: Credit, seconds: float) -> int:
    """Of one step over `seconds` of counted audio: `price` for each started block."""
    return credit.price * max(1, math.ceil(seconds / credit.block_seconds))


def shown(amount: int) -> float:
    """Millicredits as the credits that people see."""
    return amount / 1_000


def open_system_accounts(session: Session) -> None:
    """Where credits come from and go to; made once for the whole service."""
    repository.open_system_accounts(session)


def open_account(session: Session, tenant_id: UUID, user_id: UUID, granted: int, days: int = 0) -> None:
    """For somebody new in a tenant, or who comes back to it. `days` until the welcome credits expire; 0: never."""
    repository.open_accounts(session, tenant_id, user_id)
    if granted:
        welcome(session, tenant_id, user_id, granted, days)


def welcome(session: Session, tenant_id: UUID, user_id: UUID, amount: int, days: int = 0) -> None:
    expires_at = lot_repository.in_days(session, days) if days else None
    grant(session, tenant_id, user_id, amount, "welcome", expires_at=expires_at)


def grant(
    session: Session,
    tenant_id: UUID,
    user_id: UUID,
    amount: int,
    reason: str,
    *,
    expires_at: datetime | None = None,
) -> Transfer:
    """Credits out of nothing; what is left of them at `expires_at` goes again."""
    scope = Scope(tenant_id, user_id)
    transfer = move(session, scope, "issued", "available", amount, "grant", reason=reason)
    if expires_at is not None:
        lot_repository.add(session, scope, transfer.id, amount, expires_at)
    return transfer


def require_future(session: Session, expires_at: datetime) -> None:
    """Of credits that somebody is about to get. Raises GrantExpiryRefused."""
    now = lot_repository.in_days(session, 0)
    if not now < expires_at <= now + LONGEST_GRANT:
        raise GrantExpiryRefused


def require(session: Session, scope: Scope, amount: int) -> None:
    """Raises CreditsExhausted with both figures; of parallel spends `hold` decides."""
    have = balance(session, scope)[0]
    if have < amount:
        raise CreditsExhausted(f"This costs {shown(amount):g} credits and you have {shown(have):g}.")


def hold(session: Session, tenant_id: UUID, user_id: UUID, amount: int, task_id: UUID) -> None:
    """Raises CreditsExhausted; the caller's transaction must then end without a commit."""
    if amount:
        scope = Scope(tenant_id, user_id)
        move(session, scope, "available", "held", amount, "hold", task_id=task_id)
        lots.take_for_task(session, scope, amount, task_id)
        ledger.require_unexpired(session, scope)


def capture(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    _settle(session, tenant_id, task_id, "earned", "capture")


def release(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    _settle(session, tenant_id, task_id, "available", "release")
    lots.put_back(session, tenant_id, task_id)


def refund(session: Session, tenant_id: UUID, task_id: UUID, reason: str | None) -> Transfer:
    """What a completed task cost, once: to who paid, or, if they have left, to the tenant's first owner. It never
    expires: perhaps what it was paid with has expired since.

    Raises NothingToRefund, AlreadyRefunded, NobodyToRefund.
    """
    paid = repository.of_task(session, tenant_id, task_id, "capture")
    if paid is None:
        raise NothingToRefund
    if repository.of_task(session, tenant_id, task_id, "refund") is not None:
        raise AlreadyRefunded
    payee = tenants.payee(session, tenant_id, paid.user_id)
    if payee is None:
        raise NobodyToRefund
    scope = Scope(tenant_id, payee)
    try:
        return move(session, scope, "earned", "available", paid.amount, "refund", task_id=task_id, reason=reason)
    except IntegrityError as error:  # another was quicker: the unique index says so
        raise AlreadyRefunded from error


def transfer(session: Session, giver: Scope, to_user_id: UUID, amount: int, reason: str | None) -> Transfer:
    """To a member of the giver's tenant, with the dates on which they expire.

    Raises NothingToTransfer, MemberUnknown, CreditsExhausted; the caller's transaction must then end without a commit.
    """
    if amount <= 0 or to_user_id == giver.user_id:
        raise NothingToTransfer
    receiver = Scope(giver.tenant_id, to_user_id)
    # Before the accounts are locked, as by who leaves: a membership that ends takes what is in them along.
    if not tenants.stays(session, receiver):
        raise MemberUnknown
    entry = move(session, giver, "available", "available", amount, "transfer", to=receiver, reason=reason)
    lots.pass_on(session, receiver, entry.id, lots.take(session, giver, amount))
    ledger.require_unexpired(session, giver)
    return entry


def give(session: Session, giver: Scope, actor: Actor, to_user_id: UUID, amount: int, reason: str | None) -> Transfer:
    """A transfer that somebody wants, written into the audit log."""
    entry = transfer(session, giver, to_user_id, amount, reason)
    after = {"from": str(giver.user_id), "to": str(to_user_id), "millicredits": amount}
    audit.record(session, actor, "credits.transferred", tenant_id=giver.tenant_id, target=entry.id, after=after)
    return entry


def forfeit(session: Session, tenant_id: UUID, user_id: UUID, reason: str) -> int:
    """All that can be spent goes back to where credits come from; how much it was."""
    scope = Scope(tenant_id, user_id)
    amount = ledger.lock_available(session, scope)
    amount -= ledger.expire(session, scope)
    if amount:
        ledger.reclaim(session, scope, amount, "expiry", reason=reason)
    return amount


def purchase(session: Session, tenant_id: UUID, user_id: UUID, amount: int, purchase_id: UUID) -> Transfer:
    """Bought credits, which never expire. A second time is refused by the unique index."""
    scope = Scope(tenant_id, user_id)
    return move(session, scope, "issued", "available", amount, "purchase", purchase_id=purchase_id)


def charge_back(session: Session, tenant_id: UUID, user_id: UUID, amount: int, purchase_id: UUID) -> int:
    """Take bought credits back: from who has bought them, then from others of the tenant, who may have been given
    them; what is missing.
    """
    if not amount:
        return 0
    people = repository.lock_tenant(session, tenant_id)
    for person in sorted(people, key=lambda person: person != user_id):
        if not amount:
            break
        scope = Scope(tenant_id, person)
        found = min(amount, people[person] - ledger.expire(session, scope))
        if found:
            ledger.reclaim(session, scope, found, "chargeback", purchase_id=purchase_id)
            amount -= found
    return amount


def expire_due(session: Session, limit: int = 500) -> int:
    """Take back what has expired, of at most `limit` lots' owners; of how many people.

    Who spends at this very moment is passed over until the next time, so that the sweep waits for nobody.
    """
    owners = lot_repository.owners_of_due(session, limit)
    if not owners:
        return 0
    # In the order of their ids, as everywhere: the house's account is older than all people's.
    repository.lock(session, [repository.account_id(session, owners[0], "issued")])
    return sum(ledger.expire(session, owner) > 0 for owner in repository.lock_free(session, owners))


def balance(session: Session, scope: Scope) -> tuple[int, int]:
    """(what can be spent, what is put aside)."""
    found = repository.balances(session, scope)
    return found.get("available", 0) - found["expired"], found.get("held", 0)


def expiring(session: Session, scope: Scope) -> list[tuple[int, datetime]]:
    """(how much of the balance, until when), the soonest first."""
    return lot_repository.expiring(session, scope, SHOWN_LOTS)


def verify(session: Session) -> list[Imbalance]:
    """What the ledger can't explain; empty when every balance equals its entries."""
    return proof_repository.imbalances(session)


def _settle(session: Session, tenant_id: UUID, task_id: UUID, into: str, kind: str) -> None:
    held = repository.of_task(session, tenant_id, task_id, "hold")
    if held is not None:  # a task that costs nothing has no hold
        move(session, Scope(tenant_id, held.user_id), "held", into, held.amount, kind, task_id=task_id)
