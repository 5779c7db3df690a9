"""Retries are safe: one key does the work once, on both databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from backend.auth import service as auth
from backend.credit import service as credit
from backend.idempotency import service as idempotency
from backend.tenant import service as tenants
from backend.tenant.scope import Scope
from tests.colleagues import colleague, id_of
from tests.payments import PAYMENT
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

pytestmark = on_both

KEY = {"Idempotency-Key": "7f9c"}


def test_the_same_key_gives_the_same_answer(service: InProcess, demo: Person, warmup: Path) -> None:
    body = {"upload_id": demo.upload(warmup)}
    answers = [demo.post("/separate", body, headers=KEY) for _ in range(3)]
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert service.work()
    assert demo.post("/separate", body, headers=KEY).content == answers[0].content
    assert service.work() is False
    assert len(demo.get("/history").json()) == 1
    assert demo.money() == (9, 0)


def test_the_same_key_for_a_batch(demo: Person, warmup: Path) -> None:
    body = {"upload_ids": [demo.upload(warmup, name) for name in ("a.mp3", "b.mp3")]}
    answers = [demo.post("/tasks", body, headers=KEY) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert len(demo.get("/history").json()) == 2


def test_another_request_under_the_same_key(demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    assert demo.post("/separate", {"upload_id": upload_id}, headers=KEY).status_code == 202
    others = [
        demo.post("/separate", {"upload_id": upload_id, "high_frequencies": "zeros"}, headers=KEY),
        demo.post("/tasks", {"upload_ids": [upload_id]}, headers=KEY),
    ]
    for answer in others:
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert len(demo.get("/history").json()) == 1


def test_a_key_is_its_user_s_own(demo: Person, stranger: Person, warmup: Path) -> None:
    tasks = set()
    for person in (demo, stranger):
        answer = person.post("/separate", {"upload_id": person.upload(warmup)}, headers=KEY)
        assert answer.status_code == 202
        tasks.add(answer.json()["task_id"])
    assert len(tasks) == 2


@pytest.mark.parametrize("path", ["/separate", "/purchases", "/credits/transfers"])
def test_a_key_is_another_one_in_another_tenant(make_service: MakeService, warmup: Path, path: str) -> None:
    service = make_service(payment=PAYMENT)
    demo, owner = service.login(), service.register("owner@example.com")
    with service.wiring.database.write() as session:
        there, us = service.scope(owner).tenant_id, service.scope(demo)
        assert us.user_id is not None
        tenants.join(session, there, us.user_id, "admin")
        credit.open_account(session, there, us.user_id, 5_000)
        token = auth.start(service.wiring, session, Scope(there, us.user_id)).access
    seen = set()
    for person, other in ((demo, colleague(service, demo, "friend@example.com")), (replace(demo, token=token), owner)):
        bodies: dict[str, dict[str, object]] = {
            "/separate": {"upload_id": person.upload(warmup)},
            "/purchases": {"pack": "small"},
            "/credits/transfers": {"to_user_id": id_of(other), "credits": 1},
        }
        answers = [person.post(path, bodies[path], headers=KEY) for _ in range(2)]
        assert {answer.status_code for answer in answers} <= {201, 202}, answers[0].text
        assert answers[0].content == answers[1].content
        seen.add(answers[0].content)
    assert len(seen) == 2


def test_a_refused_request_leaves_its_key_free(make_service: MakeService, warmup: Path) -> None:
    service = make_service(credit={"price": 11_000})
    person = service.login()
    body = {"upload_id": person.upload(warmup)}
    assert person.post("/separate", body, headers=KEY).status_code == 402
    from_elsewhere = make_service()
    again = from_elsewhere.client.post("/api/v1/separate", json=body, headers=person.headers | KEY)
    assert again.status_code == 202


def test_twenty_at_once_with_one_key(service: InProcess, demo: Person, warmup: Path) -> None:
    body = {"upload_id": demo.upload(warmup)}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: demo.post("/separate", body, headers=KEY), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert len(demo.get("/history").json()) == 1
    assert demo.money() == (9, 1)


def test_keys_are_forgotten_after_a_day(service: InProcess, demo: Person, warmup: Path) -> None:
    body = {"upload_id": demo.upload(warmup)}
    first = demo.post("/separate", body, headers=KEY).json()
    database = service.wiring.database
    for age, kept in (("23 hours", True), ("25 hours", False)):
        with database.write() as session:
            clock = f"datetime('now', '-{age}')" if database.is_sqlite else f"now() - interval '{age}'"
            session.execute(text(f"UPDATE idempotency SET created_at = {clock}"))
            idempotency.forget_old(session)
        again = demo.post("/separate", body, headers=KEY).json()
        assert (again["task_id"] == first["task_id"]) is kept


def test_repeats_at_the_same_moment_do_not_meet_the_limit(make_service: MakeService, warmup: Path) -> None:
    service = make_service(limit={"separate": "1 per hour"})
    person = service.login()
    body = {"upload_id": person.upload(warmup)}
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: person.post("/separate", body, headers=KEY), range(30)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert person.post("/separate", body).status_code == 429
