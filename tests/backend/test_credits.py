"""Money: held, captured or released, never lost, never made; on both databases."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from typer.testing import CliRunner

from backend.clock import utc_now
from backend.credit import repository
from backend.credit import service as credit
from backend.identity import new_id
from backend.models import Account, Purchase, Transfer
from backend.task import lease_repository
from backend.user import service as users
from cli.main import app as command
from tests.ledger import submit, write_people, write_song
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

pytestmark = on_both


def wrong(service: InProcess) -> list[str]:
    with service.wiring.database.read() as session:
        return [imbalance.what for imbalance in credit.verify(session)]


def test_a_completed_task_is_paid(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    assert demo.money() == (9, 1)
    told = demo.get("/credits").json()
    assert told == {"balance": 9, "held": 1, "price": 1, "block_seconds": 600, "expiring": []}
    assert demo.entries() == [("grant", 10), ("hold", 1)]
    assert wrong(service) == []
    assert service.work()
    assert demo.money() == (9, 0)
    assert demo.entries() == [("grant", 10), ("hold", 1), ("capture", 1)]
    assert {row["task_id"] for row in demo.get("/credits/entries").json()} == {task_id, None}
    assert wrong(service) == []


def test_a_cancelled_task_costs_nothing(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    for _ in range(2):
        assert demo.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
    assert demo.money() == (10, 0)
    assert demo.entries() == [("grant", 10), ("hold", 1), ("release", 1)]
    assert wrong(service) == []


def test_the_price_goes_by_started_blocks(make_service: MakeService, warmup: Path) -> None:
    service = make_service(credit={"block_seconds": 4, "price": 250})
    person = service.login()
    sent = person.send(warmup).json()
    assert sent["price"] == 0.75  # 10.9 s: three started blocks of 4 s
    answer = person.post("/separate", {"upload_id": sent["id"]}).json()
    assert answer["price"] == 0.75
    assert person.money() == (9.25, 0.75)


def test_too_few_credits(make_service: MakeService, warmup: Path) -> None:
    service = make_service(credit={"price": 4_000})
    person = service.login()
    songs = [person.upload(warmup, f"{number}.mp3") for number in range(3)]
    answer = person.post("/tasks", {"upload_ids": songs})
    assert (answer.status_code, answer.json()["code"]) == (402, "credits_exhausted")
    assert "costs 12 credits and you have 10" in answer.json()["detail"]
    assert person.money() == (10, 0)
    assert person.get("/history").json() == []
    assert person.post("/tasks", {"upload_ids": songs[:2]}).status_code == 202
    single = person.post("/separate", {"upload_id": songs[2]})
    assert single.status_code == 402
    assert wrong(service) == []


def test_thirty_at_once_with_credits_for_ten(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)

    def submit(_: int) -> int:
        return demo.post("/separate", {"upload_id": upload_id}).status_code

    with ThreadPoolExecutor(30) as pool:
        assert Counter(pool.map(submit, range(30))) == {202: 10, 402: 20}
    assert demo.money() == (0, 10)
    assert len(demo.get("/history").json()) == 10
    assert wrong(service) == []


def test_a_hundred_at_once_for_the_last_credit(make_service: MakeService, warmup: Path) -> None:
    service = make_service(credit={"signup_grant": 1_000})
    person = service.register("last@example.com")
    upload_id = person.upload(warmup)

    def submit(_: int) -> int:
        return person.post("/separate", {"upload_id": upload_id}).status_code

    with ThreadPoolExecutor(100) as pool:
        assert Counter(pool.map(submit, range(100))) == {202: 1, 402: 99}
    assert person.money() == (0, 1)
    assert person.entries() == [("grant", 1), ("hold", 1)]
    assert wrong(service) == []


def test_a_hundred_at_once_without_the_api(service: InProcess) -> None:
    """Nothing but the statement that moves credits stands between them."""
    database = service.wiring.database
    with database.write() as session:
        tenant_id, (user_id,) = write_people(session, 1)
        song_id = write_song(session, tenant_id, user_id)
        credit.grant(session, tenant_id, user_id, 1_000, "the last")

    def spend(_: int) -> bool:
        try:
            with database.write() as session:
                submit(session, tenant_id, user_id, song_id, 1_000)
        except credit.CreditsExhausted:
            return False
        return True

    with ThreadPoolExecutor(100) as pool:
        assert Counter(pool.map(spend, range(100))) == {True: 1, False: 99}
    assert wrong(service) == []


def test_grants(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        users.grant(session, "TEST@example.com", 2_500, "a present")
    assert demo.money() == (12.5, 0)
    assert demo.get("/credits/entries").json()[0]["reason"] == "a present"
    assert wrong(service) == []


def test_the_entries_page(service: InProcess, demo: Person) -> None:
    for number in range(4):
        with service.wiring.database.write() as session:
            users.grant(session, demo.email, 1_000, str(number))
    path: str | None = "/credits/entries?limit=2"
    seen: list[str] = []
    while path:
        answer = demo.get(path.removeprefix("/api/v1"))
        seen += [row["reason"] for row in answer.json()]
        path = answer.links.get("next", {}).get("url", "").removeprefix(service.url) or None
    assert seen == ["3", "2", "1", "0", "welcome"]


@pytest.mark.parametrize("statement", ["UPDATE transfer SET amount = amount + 1", "DELETE FROM transfer"])
def test_the_ledger_refuses_to_change(service: InProcess, statement: str) -> None:
    with pytest.raises(DBAPIError, match="append-only"), service.wiring.database.write() as session:
        session.execute(text(statement))


def test_the_ledger_refuses_to_be_emptied(service: InProcess) -> None:
    if service.wiring.database.is_sqlite:
        statement = "DELETE FROM transfer WHERE 1"
    else:
        statement = "TRUNCATE transfer CASCADE"
    with pytest.raises(DBAPIError, match="append-only"), service.wiring.database.write() as session:
        session.execute(text(statement))


def test_a_task_is_settled_once_whatever_the_code_does(service: InProcess, demo: Person, warmup: Path) -> None:
    """Not the service's care but the database's unique index refuses the second capture."""
    task_id = UUID(demo.submit(demo.upload(warmup)))
    demo.submit(demo.upload(warmup))
    scope = service.scope(demo)
    with service.wiring.database.write() as session:
        credit.capture(session, scope.tenant_id, task_id)
    for settle in (credit.capture, credit.release):
        with pytest.raises(IntegrityError), service.wiring.database.write() as session:
            settle(session, scope.tenant_id, task_id)
    with pytest.raises(IntegrityError), service.wiring.database.write() as session:
        assert scope.user_id is not None
        credit.hold(session, scope.tenant_id, scope.user_id, 1, task_id)
    assert demo.money() == (8, 1)


def test_no_balance_goes_below_zero_whatever_the_code_does(service: InProcess) -> None:
    with pytest.raises(IntegrityError), service.wiring.database.write() as session:
        session.execute(update(Account).where(Account.kind == "available").values(balance=-1))


def test_impossible_transfers_are_refused_by_the_database(service: InProcess, demo: Person) -> None:
    scope = service.scope(demo)
    with service.wiring.database.read() as session:
        accounts = [repository.account_id(session, scope, kind) for kind in ("available", "held")]
    for changes in (
        {"amount": 0},
        {"amount": -5},
        {"kind": "gift"},
        {"kind": "hold"},
        {"credit_account_id": accounts[0]},
        {"tenant_id": new_id()},
        {"debit_account_id": new_id()},
    ):
        values: dict[str, Any] = {
            "tenant_id": scope.tenant_id,
            "user_id": scope.user_id,
            "debit_account_id": accounts[0],
            "credit_account_id": accounts[1],
            "amount": 1,
            "kind": "grant",
        }
        with pytest.raises(IntegrityError), service.wiring.database.write() as session:
            session.add(Transfer(**(values | changes)))
            session.flush()


def test_verify_finds_what_was_tampered_with(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = demo.submit(demo.upload(warmup))
    assert wrong(service) == []
    database = service.wiring.database
    monkeypatch.setenv("VR_DB__URL", database.url.render_as_string(hide_password=False))
    assert CliRunner().invoke(command, ["ledger", "verify"]).exit_code == 0

    with database.write() as session:
        account = session.scalars(select(Account.id).where(Account.kind == "available")).one()
        session.execute(update(Account).where(Account.id == account).values(balance=Account.balance + 7))
    assert wrong(service) == [f"account {account} (available)", "sum of all accounts"]
    found = CliRunner().invoke(command, ["ledger", "verify"])
    assert found.exit_code == 1
    assert "entries say 9000, found 9007" in found.output
    with database.write() as session:
        session.execute(update(Account).where(Account.id == account).values(balance=Account.balance - 7))
    assert wrong(service) == []

    with database.write() as session:
        table = "" if database.is_sqlite else " ON transfer"
        session.execute(text(f"DROP TRIGGER transfer_no_update{table}"))
        session.execute(text("UPDATE transfer SET amount = amount * 2 WHERE kind = 'hold'"))
    assert len(wrong(service)) == 2  # both accounts that the entry names

    with database.write() as session:
        session.execute(text("UPDATE transfer SET amount = amount / 2 WHERE kind = 'hold'"))
        claim = lease_repository.claim(session, service.scope(demo).tenant_id, "somebody", 30)
        assert claim is not None
        left = lease_repository.leave(session, claim.id, status="processing", attempt=1, into="failed")
        assert left is not None
    assert wrong(service) == [f"task {task_id} (failed)"]  # ended without its credits given back


def test_verify_finds_each_kind_of_wrong(service: InProcess, demo: Person, warmup: Path) -> None:
    """Lots, refunds and purchases: each is made wrong on purpose, and right again."""
    database, scope = service.wiring.database, service.scope(demo)
    task_id = demo.submit(demo.upload(warmup))
    assert service.work()
    assert scope.user_id is not None
    with database.write() as session:
        credit.grant(session, scope.tenant_id, scope.user_id, 500, "a present", expires_at=utc_now())
        credit.refund(session, scope.tenant_id, UUID(task_id), None)
        purchase = Purchase(tenant_id=scope.tenant_id, user_id=scope.user_id, pack="any", amount=700, price_minor=1)
        purchase.currency, purchase.provider, purchase.status = "EUR", "fake", "paid"
        session.add(purchase)
        session.flush()
        credit.purchase(session, scope.tenant_id, scope.user_id, 700, purchase.id)
        drop = "DROP TRIGGER transfer_no_update" + ("" if database.is_sqlite else " ON transfer")
        session.execute(text(drop))
    assert wrong(service) == []
    capture, of_it = "UPDATE transfer SET amount", "WHERE kind = 'capture'"
    for change, back, kinds in (
        ("UPDATE credit_lot SET remaining = 501", "UPDATE credit_lot SET remaining = 500", {"of entry"}),
        ("UPDATE credit_lot SET remaining = 999999", "UPDATE credit_lot SET remaining = 500", {"of entry", "(avail"}),
        (f"{capture} = 9 {of_it}", f"{capture} = 1000 {of_it}", {"refund of", f"task {task_id}"}),
        ("UPDATE purchase SET status = 'open'", "UPDATE purchase SET status = 'paid'", {"(open)"}),
        ("UPDATE purchase SET status = 'refunded'", "UPDATE purchase SET status = 'paid'", {"taken back"}),
        ("UPDATE purchase SET amount = 701", "UPDATE purchase SET amount = 700", {"(paid)"}),
    ):
        with database.write() as session:
            session.execute(text(change))
        found = " ".join(wrong(service))
        assert all(kind in found for kind in kinds), (change, found)
        with database.write() as session:
            session.execute(text(back))
        assert wrong(service) == []
