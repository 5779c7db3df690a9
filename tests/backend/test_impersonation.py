"""An operator acts as somebody else: for a while, for a reason, and seen by the person's tenant."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from jose import jwt
from sqlalchemy import event, select, update

from backend.auth import service as auth
from backend.clock import database_now
from backend.models import AuditEntry, LoginSession, User
from tests.operators import operator, send, user_id
from tests.servers import on_both
from tests.service import InProcess, Person

REASON = "asked us to look at a failed task"


@pytest.fixture
def chief(service: InProcess) -> Person:
    return operator(service)


def act_as(service: InProcess, chief: Person, person: Person, **more: Any) -> Person:
    answer = chief.post(f"/admin/users/{user_id(service, person)}/impersonate", {"reason": REASON, **more})
    assert answer.status_code == 201, answer.text
    assert set(answer.json()) == {"access_token", "token_type", "expires_in"}, "no refresh token"
    return Person(service.client, person.email, answer.json()["access_token"])


def test_the_token_says_who_acts_and_the_log_who_did(service: InProcess, demo: Person, chief: Person) -> None:
    acting = act_as(service, chief, demo, minutes=5)
    claims = jwt.get_unverified_claims(acting.token)
    assert claims["sub"] == str(user_id(service, demo))
    assert claims["act"] == {"sub": str(user_id(service, chief))}
    assert claims["exp"] - claims["iat"] == 300
    assert (acting.get("/me").json()["impersonated"], demo.get("/me").json()["impersonated"]) == (True, False)
    assert send(acting, "PUT", "/webhooks/credits-low", {"below": 1}).status_code == 200
    with service.wiring.database.read() as session:
        entry = session.scalars(select(AuditEntry).where(AuditEntry.action == "credits_low.changed")).one()
    assert (entry.actor_id, entry.acting_as) == (user_id(service, chief), user_id(service, demo))
    did, began = demo.get("/tenant/audit?limit=2").json()
    assert (began["action"], began["reason"], began["by"]) == ("user.impersonated", REASON, "operator")
    assert (did["by"], did["address"]) == ("operator", None)


def test_what_stays_the_person_s_own(service: InProcess, demo: Person, chief: Person) -> None:
    key = demo.post("/keys", {"name": "x", "scopes": ["read"]}).json()["id"]
    acting = act_as(service, chief, demo)
    closed: list[tuple[str, str, Any]] = [
        ("POST", "/password", {"current_password": "password123", "new_password": "another password"}),
        ("POST", "/keys", {"name": "x", "scopes": ["read"]}),
        ("DELETE", f"/keys/{key}", None),
        ("POST", "/logout/everywhere", None),
        ("POST", "/email/verification", None),
        ("GET", "/admin/overview", None),
        ("POST", f"/admin/users/{uuid4()}/impersonate", {"reason": REASON}),
    ]
    for method, path, body in closed:
        answer = send(acting, method, path, body)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_while_impersonating"), path
    assert len(demo.get("/keys").json()) == 1


def test_it_ends(service: InProcess, demo: Person, chief: Person) -> None:
    by_logout, by_time, by_operator = (act_as(service, chief, demo) for _ in range(3))
    assert by_logout.post("/logout").status_code == 204
    assert by_logout.get("/me").status_code == 401
    ended = demo.get("/tenant/audit?limit=1").json()[0]
    assert (ended["action"], ended["by"], ended["acting_as"]) == (
        "impersonation.ended",
        "operator",
        str(user_id(service, demo)),
    )
    with service.wiring.database.write() as session:
        sid = jwt.get_unverified_claims(by_time.token)["sid"]
        ids = {str(row): row for row in session.scalars(select(LoginSession.id))}
        session.execute(update(LoginSession).where(LoginSession.id == ids[sid]).values(expires_at=database_now(-1)))
    assert by_time.get("/me").status_code == 401
    assert by_operator.get("/me").status_code == 200
    chief.post("/logout/everywhere")
    assert by_operator.get("/me").status_code == 401, "who is out acts as nobody"
    assert demo.get("/me").status_code == 200


@on_both
def test_it_does_not_begin_after_the_operator_s_logins_have_ended(
    service: InProcess, demo: Person, chief: Person
) -> None:
    """The request was let in before; then they end all logins, because one was stolen."""
    path = f"/admin/users/{user_id(service, demo)}/impersonate"
    chief_id = user_id(service, chief)
    with ThreadPoolExecutor(1) as pool, service.wiring.database.write() as session:
        auth.logout_everywhere(session, chief_id, also_keys=False)
        answer = pool.submit(chief.post, path, {"reason": REASON})
        wait([answer], timeout=1)  # it waits for this transaction
    assert (answer.result().status_code, answer.result().json()["code"]) == (401, "token_invalid")
    with service.wiring.database.read() as session:
        assert list(session.scalars(select(LoginSession).where(LoginSession.impersonator_id.is_not(None)))) == []


def test_whom_nobody_can_act_as(service: InProcess, demo: Person, stranger: Person, chief: Person) -> None:
    def status(person: Person, **more: Any) -> int:
        path = f"/admin/users/{user_id(service, person)}/impersonate"
        return chief.post(path, {"reason": REASON, **more}).status_code

    assert status(operator(service, "second@example.com")) == 409
    assert status(chief) == 409
    assert status(demo, tenant_id=str(service.scope(stranger).tenant_id)) == 409
    for wrong in ({"reason": "hm"}, {"reason": "    x    "}, {"minutes": 61}, {"minutes": 0}):
        assert status(demo, **wrong) == 422, wrong
    chief.post(f"/admin/users/{user_id(service, stranger)}/deactivate", {"reason": "spam"})
    with service.wiring.database.read() as session:
        assert list(session.scalars(select(LoginSession).where(LoginSession.impersonator_id.is_not(None)))) == []


@on_both
def test_whatever_is_changed_is_the_operator_s_doing(
    service: InProcess, demo: Person, chief: Person, warmup: Path
) -> None:
    """Orders, songs, deleting: what has no entry when the person does it themselves. Looking leaves none."""
    acting = act_as(service, chief, demo)
    upload = acting.send(warmup).json()["id"]
    ordered = acting.post("/separate", {"upload_id": upload}, headers={"Idempotency-Key": "x"})
    assert ordered.status_code == 202
    task = ordered.json()["task_id"]
    assert acting.get(f"/tasks/{task}").status_code == 200
    assert acting.post("/separate", {"filename": "nothing.mp3"}).status_code == 404
    assert acting.post(f"/tasks/{task}/cancel").is_success
    assert acting.delete(f"/tasks/{task}").is_success
    assert send(acting, "PUT", "/webhooks/credits-low", {"below": 1}).status_code == 200
    assert demo.post("/separate", {"upload_id": upload}).status_code == 202
    entries = [row for row in reversed(demo.get("/tenant/audit").json()) if row["acting_as"]]
    assert [(row["action"], row["after"].get("route"), row["target"]) for row in entries[:-1]] == [
        ("impersonation.request", "/uploads", None),
        ("impersonation.request", "/separate", None),
        ("impersonation.request", "/tasks/{task_id}/cancel", task),
        ("impersonation.request", "/tasks/{task_id}", task),
    ]
    assert entries[1]["request_id"] == ordered.headers["x-request-id"]
    assert entries[-1]["action"] == "credits_low.changed", "which has an entry of its own"
    assert {row["actor_id"] for row in entries} == {str(user_id(service, chief))}


def test_without_its_entry_nothing_is_ordered(service: InProcess, demo: Person, chief: Person) -> None:
    acting = act_as(service, chief, demo)

    def refuse(*_: Any) -> None:
        raise OSError

    event.listen(AuditEntry, "before_insert", refuse)
    try:
        assert acting.post("/separate", {"filename": "warmup.mp3"}).status_code == 500
    finally:
        event.remove(AuditEntry, "before_insert", refuse)
    assert demo.money() == (10, 0)


@on_both
def test_who_was_an_operator_stays_one_in_the_log(service: InProcess, demo: Person, chief: Person) -> None:
    """Where they sat is not the tenant's business after they stop; and who becomes one did before what they did."""
    second = operator(service, "second@example.com")
    chief.post(f"/admin/users/{user_id(service, demo)}/grants", {"credits": 1, "reason": "a present"})
    demo.post("/keys", {"name": "x", "scopes": ["read"]})
    seen = demo.get("/tenant/audit").json()
    assert [(row["by"], row["address"]) for row in seen[:2]] == [("user", "127.0.0.1"), ("operator", None)]
    assert second.post(f"/admin/users/{user_id(service, chief)}/operator", {"on": False}).status_code == 204
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == demo.email).values(operator=True))
    assert demo.get("/tenant/audit").json() == seen
