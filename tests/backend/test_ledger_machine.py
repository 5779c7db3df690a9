"""Whatever happens in whatever order, the ledger is what a few lines of Python say it must be; on both databases.

VR_TEST_LEDGER_EXAMPLES says how many stories of 30 acts are told.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from backend.clock import utc_now
from backend.credit import service as credit
from backend.db import Database
from backend.models import Purchase, Task, Transfer
from backend.payment import service as payments
from backend.task import lease_repository, lifecycle
from backend.tenant.scope import Scope
from tests import ledger
from tests.ledger import Held, Purse, claim_of, settle, submit, take_back, write_people
from tests.servers import empty_settings, on_both

EXAMPLES = int(os.environ.get("VR_TEST_LEDGER_EXAMPLES", "20"))
PEOPLE = 3
PRICES = st.sampled_from([0, 1, 250, 1_000, 3_000])
person = st.integers(0, PEOPLE - 1)
crash = st.sampled_from([False, False, False, True])


class Crash(Exception):
    """The process dies before it has committed."""


class LedgerMachine(RuleBasedStateMachine):
    database: Database

    @initialize()
    def begin(self) -> None:
        self.now = utc_now()
        with self.database.write() as session:
            credit.open_system_accounts(session)
            self.tenant, self.people = write_people(session, PEOPLE)
            self.songs = [ledger.write_song(session, self.tenant, user) for user in self.people]
        self.purses = [Purse() for _ in self.people]
        self.tasks: dict[UUID, Held] = {}
        self.purchases: dict[UUID, tuple[int, int]] = {}
        self.missing: Counter[UUID] = Counter()
        self.entries = 0
        for who in range(PEOPLE):
            self.grant(who, 4_000, 1 + who, crash=False)

    # money comes

    @rule(who=person, amount=st.integers(1, 5_000), days=st.sampled_from([None, None, -2, -1, 1, 2, 3]), crash=crash)
    def grant(self, who: int, amount: int, days: int | None, crash: bool) -> None:
        moment = None if days is None else self.now + timedelta(days=days)

        def act(session: Session) -> None:
            credit.grant(session, self.tenant, self.people[who], amount, "a present", expires_at=moment)

        if self.done(act, crash):
            self.purses[who].put(amount, None if moment is None else Counter({moment: amount}))

    @rule(who=person, amount=st.integers(1, 5_000), crash=crash)
    def buy(self, who: int, amount: int, crash: bool) -> None:
        with self.database.write() as session:
            purchase_id = ledger.write_purchase(session, self.tenant, self.people[who], amount)

        def act(session: Session) -> None:
            credit.purchase(session, self.tenant, self.people[who], amount, purchase_id)
            session.get_one(Purchase, purchase_id).status = "paid"

        if self.done(act, crash):
            self.purses[who].put(amount)
            self.purchases[purchase_id] = (who, amount)
            assert self.refused(act, IntegrityError)  # paid once

    @rule(data=st.data(), crash=crash)
    def charge_back(self, data: st.DataObject, crash: bool) -> None:
        paid = [each for each, (_, left) in self.purchases.items() if left]
        if not paid:
            return
        purchase_id = data.draw(st.sampled_from(paid))
        who, left = self.purchases[purchase_id]
        part = data.draw(st.sampled_from([left, (left + 1) // 2]))
        missing = max(0, part - sum(purse.spendable(self.now) for purse in self.purses))

        def act(session: Session) -> None:
            purchase = session.get_one(Purchase, purchase_id)
            purchase.shortfall += credit.charge_back(session, self.tenant, self.people[who], part, purchase_id)
            purchase.returned += part
            if part == left:
                purchase.status = "refunded"

        if self.done(act, crash):
            take_back(self.purses, who, part, self.now)
            self.purchases[purchase_id] = (who, left - part)
            self.missing[purchase_id] += missing

    @rule(crash=crash)
    def collect(self, crash: bool) -> None:
        if self.done(payments.collect, crash):
            for purchase_id in sorted(each for each, missing in self.missing.items() if missing):
                have = sum(purse.spendable(self.now) for purse in self.purses)
                found = min(have, self.missing[purchase_id])
                take_back(self.purses, self.purchases[purchase_id][0], self.missing[purchase_id], self.now)
                self.missing[purchase_id] -= found

    # money goes

    @rule(who=person, price=PRICES, crash=crash)
    def order(self, who: int, price: int, crash: bool) -> None:
        made: list[UUID] = []

        def act(session: Session) -> None:
            made.append(submit(session, self.tenant, self.people[who], self.songs[who], price))

        purse = self.purses[who]
        if purse.spendable(self.now) < price:
            assert self.refused(act, credit.CreditsExhausted)
        elif self.done(act, crash):
            self.tasks[made[0]] = Held(who, price, purse.take(price, self.now))
            purse.held += price

    @rule(giver=person, receiver=person, amount=st.sampled_from([0, 1, 700, 2_500, 6_000]), crash=crash)
    def give(self, giver: int, receiver: int, amount: int, crash: bool) -> None:
        def act(session: Session) -> None:
            scope = Scope(self.tenant, self.people[giver])
            credit.transfer(session, scope, self.people[receiver], amount, "for the choir")

        if amount == 0 or giver == receiver:
            assert self.refused(act, credit.NothingToTransfer)
        elif self.purses[giver].spendable(self.now) < amount:
            assert self.refused(act, credit.CreditsExhausted)
        elif self.done(act, crash):
            self.purses[receiver].put(amount, self.purses[giver].take(amount, self.now))

    @rule(crash=crash)
    def sweep(self, crash: bool) -> None:
        if self.done(credit.expire_due, crash):
            for purse in self.purses:
                purse.expire(self.now)

    # tasks end

    @rule(outcome=st.sampled_from(["complete", "fail", "cancel", "give back"]))
    def work(self, outcome: str) -> None:
        with self.database.write() as session:
            task = lease_repository.claim(session, self.tenant, "somebody", 30)
        if task is None:
            return
        held, claim = self.tasks[task.id], claim_of(task)
        held.attempt = task.attempt
        settle(self.database, outcome, claim)
        if outcome == "give back":
            return
        self.ended(held, "completed" if outcome == "complete" else "released")
        # Once more, by a worker that did not hear that it is done.
        before = self.counted()
        for again in ("complete", "fail", "cancel", "give back"):
            settle(self.database, again, claim)
        assert self.counted() == before

    @rule(data=st.data(), crash=crash)
    def cancel(self, data: st.DataObject, crash: bool) -> None:
        waiting = [each for each, held in self.tasks.items() if held.state == "open"]
        if not waiting:
            return
        task_id = data.draw(st.sampled_from(waiting))
        held = self.tasks[task_id]
        if self.done(lambda session: lifecycle.cancel(session, task_id, "queued", held.attempt), crash):
            self.ended(held, "released")

    @rule(data=st.data(), attempt=st.integers(-1, 1))
    def come_too_late(self, data: st.DataObject, attempt: int) -> None:
        """A worker that lost its lease: nobody processes any task between two acts."""
        if not self.tasks:
            return
        task_id = data.draw(st.sampled_from(list(self.tasks)))
        with self.database.read() as session:
            claim = claim_of(session.get_one(Task, task_id))
        object.__setattr__(claim, "attempt", claim.attempt + attempt)
        for outcome in ("complete", "fail", "cancel"):
            settle(self.database, outcome, claim)

    @rule(data=st.data(), crash=crash)
    def refund(self, data: st.DataObject, crash: bool) -> None:
        if not self.tasks:
            return
        task_id = data.draw(st.sampled_from(list(self.tasks)))
        held = self.tasks[task_id]

        def act(session: Session) -> None:
            credit.refund(session, self.tenant, task_id, "it was noise")

        if held.state != "completed" or not held.price:
            assert self.refused(act, credit.NothingToRefund)
        elif held.refunded:
            assert self.refused(act, credit.AlreadyRefunded)
        elif self.done(act, crash):
            held.refunded = True
            self.purses[held.owner].put(held.price)

    @rule(data=st.data())
    def settle_twice(self, data: st.DataObject) -> None:
        """Whatever the code does, the database's index refuses it."""
        ended = [each for each, held in self.tasks.items() if held.state != "open" and held.price]
        if not ended:
            return
        task_id = data.draw(st.sampled_from(ended))
        # The index where `held` holds enough of other tasks; else its balance.
        errors = (IntegrityError, credit.CreditsExhausted)
        assert self.refused(lambda session: credit.capture(session, self.tenant, task_id), errors)
        assert self.refused(lambda session: credit.release(session, self.tenant, task_id), errors)

    # what always holds

    @invariant()
    def right(self) -> None:
        with self.database.read() as session:
            assert credit.verify(session) == []
            for user, purse in zip(self.people, self.purses, strict=True):
                scope = Scope(self.tenant, user)
                assert credit.balance(session, scope) == (purse.spendable(self.now), purse.held)
                assert min(purse.available, purse.held) >= 0
                shown = Counter({moment: amount for amount, moment in credit.expiring(session, scope)})
                assert shown == purse.good(self.now)
            assert payments.shortfall(session, self.tenant) == self.missing.total()
            settled = (
                select(func.count())
                .where(Transfer.tenant_id == self.tenant, Transfer.kind.in_(("capture", "release")))
                .group_by(Transfer.task_id)
            )
            assert set(session.scalars(settled)) <= {1}
        entries = self.counted()
        assert entries >= self.entries
        self.entries = entries

    # acts

    def done(self, act: Callable[[Session], Any], crash: bool) -> bool:
        try:
            with self.database.write() as session:
                act(session)
                if crash:
                    session.flush()
                    raise Crash
        except Crash:
            return False
        return True

    def refused(self, act: Callable[[Session], Any], error: type[Exception] | tuple[type[Exception], ...]) -> bool:
        with pytest.raises(error), self.database.write() as session:
            act(session)
        return True

    def ended(self, held: Held, state: Any) -> None:
        held.state = state
        purse = self.purses[held.owner]
        purse.held -= held.price
        if state == "released":
            purse.put(held.price, held.uses)

    def counted(self) -> int:
        with self.database.read() as session:
            return session.scalar(select(func.count()).where(Transfer.tenant_id == self.tenant)) or 0


@on_both
def test_the_ledger_is_what_it_must_be(database_url: str, tmp_path: Path) -> None:
    class Machine(LedgerMachine):
        database = Database(empty_settings(tmp_path, database_url))

    story = settings(
        max_examples=EXAMPLES,
        stateful_step_count=30,
        deadline=None,
        derandomize=bool(os.environ.get("CI")),
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=story)
    Machine.database.dispose()
