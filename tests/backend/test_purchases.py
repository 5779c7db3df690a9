"""Credits are bought: what a provider signs counts once, whatever the order; on both databases."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy import select, text

from backend.credit import service as credit
from backend.models import AuditEntry, PaymentEvent
from backend.payment import service as payments
from backend.settings.payment import Payment
from tests.payments import NEXT_SECRET, PAYMENT, SECRET, message, order, send, signed, teller
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service(payment=PAYMENT)


def stands(person: Person, purchase: dict[str, Any]) -> tuple[str, float, float]:
    """(its status, what is missing, what the person can spend)."""
    found = person.get(f"/purchases/{purchase['id']}").json()
    return found["status"], found["shortfall"], person.money()[0]


def acts(service: InProcess) -> list[str]:
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []
        statement = select(AuditEntry.action).where(AuditEntry.action.like("purchase.%")).order_by(AuditEntry.id)
        return list(session.scalars(statement))


@on_both
def test_a_pack_is_bought(service: InProcess, demo: Person) -> None:
    assert demo.get("/purchases/packs").json()[0] == {
        "name": "small",
        "credits": 5,
        "price_minor": 499,
        "currency": "EUR",
    }
    purchase = order(demo)
    assert (purchase["status"], purchase["credits"], demo.money()) == ("open", 5, (10, 0))
    body = message("payment.succeeded", purchase["id"])
    headers = signed(body)
    for _ in range(3):
        assert send(service, body, headers).status_code == 204
    teller(service, purchase)("succeeded")  # in another message
    assert stands(demo, purchase) == ("paid", 0, 15)
    assert demo.entries() == [("grant", 10), ("purchase", 5)]
    entry = demo.get("/credits/entries").json()[0]
    assert (entry["purchase_id"], entry["change"]) == (purchase["id"], 5)
    assert demo.get(f"/purchases/{purchase['id']}").json()["checkout_url"] is None
    assert acts(service) == ["purchase.ordered", "purchase.paid"]


@on_both
def test_one_message_ten_times_at_once(service: InProcess, demo: Person) -> None:
    purchase = order(demo)
    body = message("payment.succeeded", purchase["id"])
    same, others = signed(body), [signed(body) for _ in range(5)]
    with ThreadPoolExecutor(10) as pool:
        answers = pool.map(lambda headers: send(service, body, headers).status_code, [same] * 5 + others)
    assert Counter(answers) == {204: 10}
    assert stands(demo, purchase) == ("paid", 0, 15)
    assert acts(service) == ["purchase.ordered", "purchase.paid"]


@on_both
@pytest.mark.parametrize("back", ["refunded", "chargeback"])
def test_paid_back(service: InProcess, demo: Person, back: str) -> None:
    """With 13 of 15 credits spent, 2 of the 5 that were bought are still there."""
    purchase = order(demo)
    tell = teller(service, purchase)
    tell("succeeded")
    scope = service.scope(demo)
    with service.wiring.database.write() as session:
        assert scope.user_id is not None
        credit.forfeit(session, scope.tenant_id, scope.user_id, "spent")
        credit.grant(session, scope.tenant_id, scope.user_id, 2_000, "left")
    tell(back)
    tell(back)
    tell("succeeded")
    assert stands(demo, purchase) == ("refunded", 3, 0)
    assert demo.entries()[-1] == ("chargeback", 2)
    assert acts(service) == ["purchase.ordered", "purchase.paid", "purchase.refunded"]


@on_both
def test_in_any_order(service: InProcess, demo: Person) -> None:
    money = 10
    for kinds, status, gained in (
        (["failed"], "failed", 0),
        (["failed", "succeeded"], "paid", 5),
        (["succeeded", "failed"], "paid", 5),
        (["refunded", "succeeded"], "refunded", 0),
        (["failed", "refunded", "succeeded", "failed"], "refunded", 0),
        (["chargeback", "refunded"], "refunded", 0),
        (["succeeded", "refunded"], "refunded", 0),
        (["disputed"], "open", 0),
    ):
        purchase = order(demo)
        tell = teller(service, purchase)
        for kind in kinds:
            tell(kind)
        money += gained
        assert stands(demo, purchase) == (status, 0, money), kinds
        acts(service)


@pytest.mark.parametrize("wrong", [{"amount_minor": 1}, {"currency": "USD"}])
def test_another_amount_brings_nothing_and_is_noted(service: InProcess, demo: Person, wrong: dict[str, Any]) -> None:
    purchase = order(demo)
    body = message("payment.succeeded", purchase["id"], **wrong)
    assert send(service, body, signed(body)).status_code == 204
    assert stands(demo, purchase) == ("open", 0, 10)
    assert acts(service) == ["purchase.ordered", "purchase.mismatched"]


def test_what_is_not_signed_just_now_by_the_provider_is_not_there(service: InProcess, demo: Person) -> None:
    """One answer for all of it; and nothing is kept."""
    purchase = order(demo)
    good = message("payment.succeeded", purchase["id"])
    headers = signed(good)
    forged = [
        ({}, good),
        (headers, good + b" "),
        (headers | {"webhook-id": "another"}, good),
        (headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) + 1)}, good),
        (headers | {"webhook-timestamp": "9" * 30}, good),
        (headers | {"webhook-timestamp": "-1"}, good),
        (headers | {"webhook-signature": "v1,"}, good),
        (headers | {"webhook-signature": headers["webhook-signature"].replace("v1,", "v1a,")}, good),
        (headers | {"webhook-id": ""}, good),
        (headers | {"webhook-id": "x" * 201}, good),
        (signed(good, age=301), good),
        (signed(good, age=-302), good),
        (signed(good, secret=NEXT_SECRET), good),
        (headers, b"\xff\xfe"),
    ]
    nobody_s = message("payment.succeeded", str(uuid4()))
    forged.append((signed(nobody_s), nobody_s))
    answers = [send(service, body, sent) for sent, body in forged]
    answers.append(send(service, good, headers, provider="another"))
    told = {tuple((answer.json() | {"request_id": ""}).items()) for answer in answers}
    assert {answer.status_code for answer in answers} == {404}
    assert len(told) == 1
    assert stands(demo, purchase) == ("open", 0, 10)
    with service.wiring.database.read() as session:
        assert session.scalars(select(PaymentEvent)).all() == []
    assert send(service, good, headers).status_code == 204  # it was good all the time
    assert stands(demo, purchase) == ("paid", 0, 15)


@pytest.mark.parametrize(
    "body",
    [b"{}", b"[]", b"none", b'{"type": "payment.succeeded", "data": {}}', b'{"type": 1, "data": {}}'],
)
def test_signed_and_unreadable(service: InProcess, body: bytes) -> None:
    answer = send(service, body, signed(body))
    assert (answer.status_code, answer.json()["code"]) == (422, "payment_message_unreadable")


def test_signed_and_of_no_interest(service: InProcess) -> None:
    body = b'{"type": "customer.created", "data": {"name": "somebody"}}'
    assert send(service, body, signed(body)).status_code == 204


def test_a_secret_is_replaced(make_service: MakeService) -> None:
    service = make_service(payment=PAYMENT | {"secret": f"{NEXT_SECRET}, {SECRET}"})
    demo = service.login()
    for secret, money in ((SECRET, 15), (NEXT_SECRET, 20)):
        purchase = order(demo)
        body = message("payment.succeeded", purchase["id"])
        assert send(service, body, signed(body, secret=secret)).status_code == 204
        assert demo.money() == (money, 0)


def test_the_checkout_link_says_and_signs_what_is_to_be_paid(service: InProcess, demo: Person) -> None:
    purchase = order(demo, "odd")
    assert purchase["credits"] == 0.001
    parts = urlsplit(purchase["checkout_url"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == PAYMENT["checkout_url"]
    assert (query["purchase"], query["amount_minor"], query["currency"]) == (purchase["id"], "1", "JPY")
    signed_text = f"{query['purchase']}.{query['timestamp']}.{query['amount_minor']}.{query['currency']}"
    key = b64decode(SECRET.removeprefix("whsec_"))
    expected = b64encode(hmac.digest(key, signed_text.encode(), hashlib.sha256)).decode()
    assert query["signature"] == f"v1,{expected}"


@on_both
def test_an_order_is_repeated_safely(service: InProcess, demo: Person) -> None:
    key = {"Idempotency-Key": "once"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: demo.post("/purchases", {"pack": "small"}, headers=key), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert len(demo.get("/purchases").json()) == 1
    assert demo.post("/purchases", {"pack": "odd"}, headers=key).json()["code"] == "idempotency_key_reused"


def test_purchases_page_and_are_one_s_own(service: InProcess, demo: Person, stranger: Person) -> None:
    made = [order(demo)["id"] for _ in range(3)]
    first = demo.get("/purchases?limit=2")
    assert [row["id"] for row in first.json()] == made[:0:-1]
    rest = demo.get(first.links["next"]["url"].removeprefix(service.url).removeprefix("/api/v1"))
    assert [row["id"] for row in rest.json()] == made[:1]
    assert stranger.get("/purchases").json() == []
    foreign, none = (stranger.get(f"/purchases/{each}") for each in (made[0], uuid4()))
    assert foreign.status_code == none.status_code == 404
    assert foreign.json()["code"] == none.json()["code"] == "purchase_not_found"
    assert demo.post("/purchases", {"pack": "huge"}).json()["code"] == "pack_not_found"


def test_without_a_provider_nothing_is_sold(make_service: MakeService) -> None:
    service = make_service(payment={"packs": PAYMENT["packs"]})
    demo = service.login()
    assert demo.get("/purchases/packs").json() == []
    assert demo.post("/purchases", {"pack": "small"}).status_code == 404
    body = message("payment.succeeded", str(uuid4()))
    assert send(service, body, signed(body)).status_code == 404
    assert send(service, body, signed(body), provider="").status_code == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"secret": ""},
        {"secret": "whsec_c2hvcnQ="},
        {"secret": "whsec_not base64"},
        {"checkout_url": ""},
        {"checkout_url": "javascript:alert(1)"},
        {"provider": "With Spaces"},
        {"packs": {"": PAYMENT["packs"]["small"]}},
        {"packs": {"small": {"credits": 0, "price_minor": 1, "currency": "EUR"}}},
        {"packs": {"small": {"credits": 1, "price_minor": 0, "currency": "EUR"}}},
        {"packs": {"small": {"credits": 1, "price_minor": 1, "currency": "euro"}}},
    ],
)
def test_settings_that_would_lose_money_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Payment(**(PAYMENT | wrong))


def test_old_messages_are_forgotten_and_bring_nothing_more(service: InProcess, demo: Person) -> None:
    purchase = order(demo)
    body = message("payment.succeeded", purchase["id"])
    headers = signed(body)
    send(service, body, headers)
    with service.wiring.database.write() as session:
        session.execute(text("UPDATE payment_event SET created_at = '2020-01-01 00:00:00.000000'"))
        payments.forget_old(session)
        assert session.scalars(select(PaymentEvent)).all() == []
    assert send(service, body, headers).status_code == 204
    assert stands(demo, purchase) == ("paid", 0, 15)
