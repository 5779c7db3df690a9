"""Credits from one member to another, and what both see of it: entries and statements; on both databases."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from backend.clock import utc_now
from backend.credit import service as credit
from backend.credit.statement import COLUMNS
from tests.colleagues import acts, colleague, id_of, told
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

pytestmark = on_both


def give(giver: Person, to: str, credits: float, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    return giver.post("/credits/transfers", {"to_user_id": to, "credits": credits, **more}, headers=headers)


def rows(person: Person, query: str = "") -> list[dict[str, str]]:
    answer = person.get(f"/credits/statement{query}")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].startswith("attachment; ")
    return list(csv.DictReader(io.StringIO(answer.text, newline="")))


def seen(person: Person) -> list[tuple[str, float, float, str | None]]:
    found = person.get("/credits/entries").json()
    return [(row["kind"], row["credits"], row["change"], row["member_id"]) for row in reversed(found)]


@pytest.fixture
def friend(service: InProcess, demo: Person) -> Person:
    return colleague(service, demo, "friend@example.com")


def test_given_and_got(service: InProcess, demo: Person, friend: Person) -> None:
    me, other = id_of(demo), id_of(friend)
    answer = give(demo, other, 2.5, reason="for the choir")
    assert answer.status_code == 201, answer.text
    assert (answer.json()["change"], answer.json()["member_id"], answer.json()["reason"]) == (
        -2.5,
        other,
        "for the choir",
    )
    assert give(friend, me, 0.001).status_code == 201
    assert (demo.money(), friend.money()) == ((7.501, 0), (2.499, 0))
    assert seen(demo) == [("grant", 10, 10, None), ("transfer", 2.5, -2.5, other), ("transfer", 0.001, 0.001, other)]
    assert seen(friend) == [("transfer", 2.5, 2.5, me), ("transfer", 0.001, -0.001, me)]
    given, _ = acts(service, demo.get("/me").json()["tenant_id"], "credits.transferred")
    assert (str(given.actor_id), given.after) == (me, {"from": me, "to": other, "millicredits": 2500})
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []


def test_what_can_t_be_given(demo: Person, friend: Person, stranger: Person) -> None:
    other = id_of(friend)
    assert told(give(demo, id_of(stranger), 1)) == told(give(demo, str(uuid4()), 1)) == (404, "member_not_found")
    assert told(give(demo, id_of(demo), 1)) == (422, "nothing_to_transfer")
    assert told(give(demo, other, 10.001)) == (402, "credits_exhausted")
    for credits in (0, -1, 0.0001, 1e300, "much", None, float("1e-9"), True, "3"):
        assert told(give(demo, other, credits)) == (422, "invalid_request")  # type: ignore[arg-type]
    for reason in ("x" * 201, "a\0b", "a\nb"):
        assert told(give(demo, other, 1, reason=reason)) == (422, "invalid_request")
    assert told(give(demo, other, 1, from_user_id=other)) == (422, "invalid_request")
    key = demo.post("/keys", {"name": "studio", "scopes": ["read", "separate", "admin"]}).json()["key"]
    body = {"to_user_id": other, "credits": 1}
    answer = demo.client.post("/api/v1/credits/transfers", json=body, headers={"Authorization": f"Key {key}"})
    assert told(answer) == (403, "login_needed")
    assert (demo.money(), friend.money()) == ((10, 0), (0, 0))


def test_repeated_safely(demo: Person, friend: Person) -> None:
    key = {"Idempotency-Key": "once"}
    answers = [give(demo, id_of(friend), 1, headers=key) for _ in range(3)]
    assert {(answer.status_code, answer.text) for answer in answers} == {(201, answers[0].text)}
    assert told(give(demo, id_of(friend), 2, headers=key)) == (422, "idempotency_key_reused")
    assert (demo.money(), friend.money()) == ((9, 0), (1, 0))


def test_not_too_often(make_service: MakeService) -> None:
    service = make_service(limit={"transfer": "2 per minute"})
    demo = service.login()
    friend = id_of(colleague(service, demo, "friend@example.com"))
    assert [give(demo, friend, 1).status_code for _ in range(3)] == [201, 201, 429]
    assert demo.money() == (8, 0)


def test_entries_of_both_sides_page(service: InProcess, demo: Person, friend: Person) -> None:
    me, other = id_of(demo), id_of(friend)
    for _ in range(3):
        give(demo, other, 2)
        give(friend, me, 1)
    whole = [row["id"] for row in demo.get("/credits/entries").json()]
    assert len(whole) == 7
    path: str | None = "/credits/entries?limit=2"
    paged: list[str] = []
    while path:
        answer = demo.get(path.removeprefix("/api/v1"))
        paged += [row["id"] for row in answer.json()]
        path = answer.links.get("next", {}).get("url", "").removeprefix(service.url) or None
    assert paged == whole


def test_a_statement(service: InProcess, demo: Person, friend: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.credit.statement.AT_ONCE", 2)
    other = id_of(friend)
    give(demo, other, 0.001, reason='=HYPERLINK("http://127.0.0.1")')
    give(demo, other, 1.999, reason=" @SUM(1)")
    task_id = demo.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"]
    demo.post(f"/tasks/{task_id}/cancel")
    statement = rows(demo)
    assert tuple(statement[0]) == COLUMNS
    assert [(row["kind"], row["change"], row["balance"]) for row in statement] == [
        ("opening balance", "", "0.000"),
        ("grant", "10.000", "10.000"),
        ("transfer", "-0.001", "9.999"),
        ("transfer", "-1.999", "8.000"),
        ("hold", "-1.000", "7.000"),
        ("release", "1.000", "8.000"),
        ("closing balance", "", "8.000"),
    ]
    assert demo.money() == (8, 0)
    assert [row["reason"] for row in statement[2:4]] == ['\'=HYPERLINK("http://127.0.0.1")', "' @SUM(1)"]
    assert (statement[2]["member"], statement[4]["task"]) == (other, task_id)
    assert [row["balance"] for row in rows(friend)] == ["0.000", "0.001", "2.000", "2.000"]


@pytest.mark.parametrize(
    ("reason", "harmless"),
    [
        ("a;=1+1", "a;'=1+1"),
        ("a;b| @SUM(1)", "a;b|' @SUM(1)"),
        ("\xa0=1+1", "'\xa0=1+1"),
        ("\ufeff\u200b\u202e＝1+1", "'\ufeff\u200b\u202e＝1+1"),
        ('a, b = c; 50 % "off"', 'a, b = c; 50 % "off"'),
    ],
)
def test_no_formula_gets_into_a_statement(demo: Person, friend: Person, reason: str, harmless: str) -> None:
    assert give(demo, id_of(friend), 1, reason=reason).status_code == 201
    assert rows(friend)[1]["reason"] == harmless
    lines = friend.get("/credits/statement").text.splitlines()
    assert all(line.startswith('"') and line.endswith('"') for line in lines), "each text in quotes"


def test_a_statement_of_some_days(demo: Person) -> None:
    today = utc_now().date()
    yesterday, tomorrow = (today + timedelta(days=days) for days in (-1, 1))
    assert [row["balance"] for row in rows(demo, f"?from=2020-01-01&to={yesterday}")] == ["0.000", "0.000"]
    assert [row["balance"] for row in rows(demo, f"?from={tomorrow}&to={tomorrow}")] == ["10.000", "10.000"]
    around = rows(demo, f"?from={today}&to={today}")
    assert [row["kind"] for row in around] == ["opening balance", "grant", "closing balance"]
    assert rows(demo, f"?from={tomorrow}&to={yesterday}") == rows(demo, f"?from={yesterday}&to={tomorrow}")
    assert datetime.fromisoformat(around[0]["time"]) == datetime.combine(today, datetime.min.time(), UTC)
    whole = rows(demo, "?from=0001-01-01&to=9999-12-31")
    assert [row["balance"] for row in whole] == ["0.000", "10.000", "10.000"]
    assert demo.get("/credits/statement?from=soon").status_code == 422
