"""Bought credits whose buyer is gone, or whose payment is taken back, whole or in part; on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.audit.service import COMMAND
from backend.credit import service as credit
from backend.erase import service as erase
from backend.metric import service as metric
from tests.colleagues import acts, colleague, give, id_of
from tests.operators import operator
from tests.payments import PAYMENT, message, order, send, signed, teller
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from workers.tidy import Tidy

pytestmark = on_both


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service(payment=PAYMENT)


def part(service: InProcess, purchase: dict[str, Any], amount: int, message_id: str | None = None) -> None:
    body = message("payment.refunded", purchase["id"], amount)
    assert send(service, body, signed(body, message_id=message_id)).status_code == 204


def stands(person: Person, purchase: dict[str, Any]) -> tuple[str, int, float]:
    found = person.get(f"/purchases/{purchase['id']}").json()
    return found["status"], found["refunded_minor"], found["shortfall"]


def spend(service: InProcess, person: Person) -> None:
    scope = service.scope(person)
    assert scope.user_id is not None
    with service.wiring.database.write() as session:
        credit.forfeit(session, scope.tenant_id, scope.user_id, "spent")


def right(service: InProcess) -> None:
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []


def test_what_a_buyer_who_left_has_paid_is_the_owners(service: InProcess, demo: Person) -> None:
    buyer = colleague(service, demo, "buyer@example.com", "admin")
    purchase = order(buyer)
    assert demo.delete(f"/tenant/members/{id_of(buyer)}").status_code == 200
    teller(service, purchase)("succeeded")
    assert demo.money() == (15, 0)
    assert stands(demo, purchase) == ("paid", 0, 0), "it is theirs now"
    [paid] = acts(service, demo.get("/me").json()["tenant_id"], "purchase.paid")
    assert paid.after is not None
    assert paid.after["owner"] == id_of(demo) != paid.after["buyer"]
    teller(service, purchase)("chargeback")
    assert (demo.money(), stands(demo, purchase)) == ((10, 0), ("refunded", 499, 0))
    right(service)


def test_nobody_s_credits_are_not_made(service: InProcess, demo: Person) -> None:
    """Their tenant was erased between the order and the payment: the operator reads it in the log."""
    purchase, scope = order(demo), service.scope(demo)
    erase.erase_tenant(service.wiring, COMMAND, scope.tenant_id)
    tell = teller(service, purchase)
    tell("succeeded")
    [unclaimed] = acts(service, str(scope.tenant_id), "purchase.unclaimed")
    assert unclaimed.after is not None
    assert (unclaimed.target, unclaimed.after["status"]) == (purchase["id"], "failed")
    tell("refunded")
    with service.wiring.database.read() as session:
        assert credit.balance(session, scope) == (0, 0)
    right(service)


def test_paid_back_in_parts(service: InProcess, demo: Person) -> None:
    purchase = order(demo)
    teller(service, purchase)("succeeded")
    for _ in range(2):
        part(service, purchase, 100, "the same message")
    assert (demo.money()[0], stands(demo, purchase)) == (13.998, ("paid", 100, 0))
    part(service, purchase, 300)
    assert (demo.money()[0], stands(demo, purchase)) == (10.992, ("paid", 400, 0))
    part(service, purchase, 0)
    part(service, purchase, 500)
    assert (demo.money()[0], stands(demo, purchase)) == (10.992, ("paid", 400, 0)), "no part of the price"
    part(service, purchase, 99)
    assert (demo.money()[0], stands(demo, purchase)) == (10, ("refunded", 499, 0))
    part(service, purchase, 99)
    assert demo.money()[0] == 10
    said = acts(service, demo.get("/me").json()["tenant_id"], *("purchase.refunded_in_part", "purchase.mismatched"))
    assert [entry.action for entry in said] == ["purchase.refunded_in_part"] * 2 + ["purchase.mismatched"] * 2
    right(service)


def test_a_part_that_is_paid_back_before_it_is_heard_that_it_was_paid(service: InProcess, demo: Person) -> None:
    purchase = order(demo)
    part(service, purchase, 250)
    assert stands(demo, purchase) == ("open", 250, 0)
    teller(service, purchase)("succeeded")
    assert (demo.money()[0], stands(demo, purchase)) == (12.495, ("paid", 250, 0))
    right(service)


def test_given_away_they_are_taken_all_the_same(service: InProcess, demo: Person, warmup: Path) -> None:
    friend = colleague(service, demo, "friend@example.com")
    spend(service, demo)
    purchase = order(demo)
    tell = teller(service, purchase)
    tell("succeeded")
    give(service, demo, friend, 4_500)
    tell("chargeback")
    assert (demo.money(), friend.money(), stands(demo, purchase)) == ((0, 0), (0, 0), ("refunded", 499, 0))
    assert friend.entries()[-1] == ("chargeback", 4.5)
    right(service)


def test_what_is_missing_is_shown_and_taken_later(
    service: InProcess, demo: Person, stranger: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    chief = operator(service)
    spend(service, demo)
    purchase = order(demo)
    tell = teller(service, purchase)
    tell("succeeded")
    song = demo.upload(warmup)
    tasks = [demo.submit(song) for _ in range(3)]
    tell("chargeback")

    def missing() -> tuple[float, ...]:
        tenant = f"/admin/tenants/{service.scope(demo).tenant_id}"
        [line] = [line for line in service.client.get("/metrics").text.splitlines() if line.startswith("vr_purchase_s")]
        shown = (chief.get(path).json()["shortfall"] for path in ("/admin/overview", tenant))
        return (*shown, float(line.split()[1]), stands(demo, purchase)[2])

    assert missing() == (3, 3, 3, 3)
    demo.post(f"/tasks/{tasks[0]}/cancel")
    Tidy(service.wiring).run()
    assert (missing(), demo.money()) == ((2, 2, 2, 2), (0, 2))
    grant = {"credits": 2.5, "reason": "paid by letter"}
    assert chief.post(f"/admin/users/{id_of(demo)}/grants", grant).status_code == 204
    Tidy(service.wiring).run()
    assert (missing(), demo.money()) == ((0, 0, 0, 0), (0.5, 2))
    assert stranger.money() == (10, 0)
    collected = acts(service, demo.get("/me").json()["tenant_id"], "purchase.collected")
    assert [(entry.before, entry.after and entry.after["shortfall"]) for entry in collected] == [
        ({"shortfall": 3_000}, 2_000),
        ({"shortfall": 2_000}, 0),
    ]
    right(service)
