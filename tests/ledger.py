"""The ledger as plain Python: what accounts must hold after each act. And the rows that tasks and people need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy.orm import Session

from backend.credit import service as credit
from backend.db import Database
from backend.identity import new_id
from backend.models import Membership, Purchase, Step, Task, Tenant, Upload, User
from backend.task import lifecycle

State = Literal["open", "completed", "released"]


@dataclass
class Purse:
    """What one person has; `lots` says which part of `available` expires when, or has expired and is to be taken."""

    available: int = 0
    held: int = 0
    lots: Counter[datetime] = field(default_factory=Counter)

    def good(self, now: datetime) -> Counter[datetime]:
        """Lots that have not expired."""
        return Counter({moment: amount for moment, amount in self.lots.items() if moment > now})

    def spendable(self, now: datetime) -> int:
        return self.available - self.lots.total() + self.good(now).total()

    def take(self, amount: int, now: datetime) -> Counter[datetime]:
        """From what has not expired, the soonest to expire first; what came from lots."""
        self.available -= amount
        taken: Counter[datetime] = Counter()
        for moment in sorted(self.good(now)):
            part = min(amount, self.lots[moment])
            taken[moment] += part
            amount -= part
        self.lots -= taken
        return +taken

    def put(self, amount: int, lots: Counter[datetime] | None = None) -> None:
        self.available += amount
        self.lots += lots or Counter()

    def expire(self, now: datetime) -> None:
        self.available = self.spendable(now)
        self.lots = self.good(now)


def take_back(purses: Sequence[Purse], who: int, amount: int, now: datetime) -> None:
    """Of who bought them, then of the others; what has expired of theirs goes with it."""
    for purse in sorted(purses, key=lambda purse: purse is not purses[who]):
        if not amount:
            break
        purse.expire(now)
        found = min(amount, purse.available)
        purse.take(found, now)
        amount -= found


@dataclass
class Held:
    """A task."""

    owner: int
    price: int
    uses: Counter[datetime]
    state: State = "open"
    attempt: int = 0
    refunded: bool = False


def write_people(session: Session, count: int) -> tuple[UUID, list[UUID]]:
    """(a new tenant, its members, who have nothing)."""
    tenant = Tenant(name="a choir")
    people = [User(email=f"{new_id()}@example.com", password_hash="no password fits") for _ in range(count)]
    session.add_all([tenant, *people])
    session.flush()
    for person in people:
        session.add(Membership(tenant_id=tenant.id, user_id=person.id, role="member"))
        session.flush()
        credit.open_account(session, tenant.id, person.id, 0)
    return tenant.id, [person.id for person in people]


def write_song(session: Session, tenant_id: UUID, user_id: UUID) -> UUID:
    """A row without a file."""
    song = Upload(tenant_id=tenant_id, user_id=user_id, filename="song.mp3", storage_key="nowhere", size=1)
    song.sha256, song.container, song.codec = "0" * 64, "mp3", "mp3"
    song.rate, song.channels, song.seconds = 44_100, 2, 1.0
    session.add(song)
    session.flush()
    return song.id


def submit(session: Session, tenant_id: UUID, user_id: UUID, song_id: UUID, price: int) -> UUID:
    """As an order does it: rows, hold and event. Raises CreditsExhausted."""
    task = Task(id=new_id(), tenant_id=tenant_id, user_id=user_id, upload_id=song_id, source_name="song.mp3")
    task.seconds, task.price, task.last_event = 1.0, price, 1
    session.add(task)
    session.flush()
    session.add(Step(tenant_id=tenant_id, task_id=task.id, position=0, op="separate", model="lite", price=price))
    credit.hold(session, tenant_id, user_id, price, task.id)
    lifecycle.record_queued(session, task)
    return task.id


def write_purchase(session: Session, tenant_id: UUID, user_id: UUID, amount: int) -> UUID:
    """Ordered and not paid."""
    purchase = Purchase(tenant_id=tenant_id, user_id=user_id, pack="any", amount=amount)
    purchase.price_minor, purchase.currency, purchase.provider = 1, "EUR", "fake"
    session.add(purchase)
    session.flush()
    return purchase.id


def settle(database: Database, outcome: str, claim: lifecycle.Claim) -> None:
    """As a worker does it."""
    if outcome == "complete":
        lifecycle.complete(database, claim, {}, [])
    elif outcome == "fail":
        lifecycle.fail(database, claim, "noise", "Only noise.", transient=False, max_attempts=3)
    elif outcome == "give back":
        lifecycle.give_back(database, claim, "stopped")
    else:
        with database.write() as session:
            lifecycle.cancel(session, claim.task_id, "processing", claim.attempt)


def claim_of(task: Task) -> lifecycle.Claim:
    """What a worker that took this task would show."""
    return lifecycle.Claim(
        task_id=task.id,
        tenant_id=task.tenant_id,
        attempt=task.attempt,
        failures=task.failures,
        source_name="song.mp3",
        source_key="nowhere",
        source=None,  # type: ignore[arg-type]
        step_id=task.id,
        model="lite",
        options={},
    )
