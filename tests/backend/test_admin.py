"""What operators do over HTTP with tenants, people and credits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from backend.audit.service import COMMAND
from backend.credit import service as credit
from backend.erase import service as erase
from backend.models import AuditEntry, User
from tests.colleagues import colleague, give
from tests.operators import operator, send, user_id
from tests.servers import on_both
from tests.service import InProcess, Person


@pytest.fixture
def chief(service: InProcess) -> Person:
    return operator(service)


def last_entry(service: InProcess) -> AuditEntry:
    with service.wiring.database.read() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()


def test_only_operators_who_have_logged_in_come_in(service: InProcess, demo: Person, chief: Person) -> None:
    answer = demo.get("/admin/overview")
    assert (answer.status_code, answer.json()["code"]) == (403, "operator_needed")
    key = chief.post("/keys", {"name": "x", "scopes": ["read", "separate", "admin"]}).json()["key"]
    answer = service.client.get("/api/v1/admin/overview", headers={"Authorization": f"Key {key}"})
    assert (answer.status_code, answer.json()["code"]) == (403, "login_needed")
    assert chief.get("/admin/overview").status_code == 200


@on_both
def test_tenants_and_people_are_found(service: InProcess, demo: Person, stranger: Person, chief: Person) -> None:
    def emails(query: str) -> list[str]:
        return [row["email"] for row in chief.get(f"/admin/users{query}").json()]

    assert emails("") == [chief.email, stranger.email, demo.email]
    assert emails("?search=STRANGER") == [stranger.email]
    assert emails("?search=%25") == emails("?search=_") == []
    assert emails("?status=operator") == [chief.email]
    assert chief.get("/admin/users?search=%00").status_code == 422
    for path in ("users", "tenants"):
        seen: list[str] = []
        page: str | None = f"/admin/{path}?limit=2"
        while page:
            answer = chief.get(page)
            seen += [row["id"] for row in answer.json()]
            page = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else None
        assert len(seen) == 3
        assert seen == sorted(seen, reverse=True)
    home = str(service.scope(stranger).tenant_id)
    assert [row["id"] for row in chief.get("/admin/tenants?search=stranger@").json()] == [home]
    assert chief.get("/admin/tenants?status=suspended").json() == []
    for path in ("users", "tenants"):
        assert chief.get(f"/admin/{path}/{uuid4()}").status_code == 404


@on_both
def test_a_tenant_is_seen_whole(service: InProcess, demo: Person, chief: Person, warmup: Path) -> None:
    demo.submit(demo.upload(warmup))
    seen = chief.get(f"/admin/tenants/{service.scope(demo).tenant_id}").json()
    assert [(member["email"], member["role"]) for member in seen["members"]] == [(demo.email, "owner")]
    assert (seen["credits"], seen["held"], seen["tasks"], seen["plan"]) == (9, 1, {"queued": 1}, "standard")
    assert seen["used"]["queued"] == 1
    assert seen["used"]["stored_bytes"] == warmup.stat().st_size
    assert seen["limits"]["requests"] is None
    assert seen["in_force"]["requests"] == service.settings.limit.tenant
    view = chief.get("/admin/overview").json()
    assert (view["queued"], view["running"], view["failed"]) == (1, 0, {})
    assert view["ledger"]["balanced"] is True
    assert view["ledger"]["held"] == 1
    assert view["stored_bytes"] == warmup.stat().st_size


def test_plan_and_limits(service: InProcess, demo: Person, chief: Person) -> None:
    path = f"/admin/tenants/{service.scope(demo).tenant_id}"
    limits = {"requests": "7 per hour", "concurrent_tasks": 2}
    changed = send(chief, "PATCH", path, {"plan": "priority", "limits": limits}).json()
    assert changed["plan"] == "priority"
    assert changed["in_force"] | limits == changed["in_force"]
    changed = send(chief, "PATCH", path, {"limits": {"requests": None}}).json()
    assert changed["limits"]["requests"] is None
    assert changed["limits"]["concurrent_tasks"] == 2, "what is not named stays"
    entry = last_entry(service)
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["requests"], entry.after["requests"]) == ("7 per hour", None)
    for wrong in ({"plan": "gold"}, {"limits": {"requests": "often"}}, {"limits": {"storage_bytes": -1}}, {"owner": 1}):
        assert send(chief, "PATCH", path, wrong).status_code == 422, wrong


def test_a_suspended_tenant_waits(service: InProcess, demo: Person, chief: Person) -> None:
    tenant_id = service.scope(demo).tenant_id
    assert chief.post(f"/admin/tenants/{tenant_id}/suspend", {"reason": "unpaid"}).status_code == 204
    answer = demo.get("/me")
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")
    (found,) = chief.get("/admin/tenants?status=suspended").json()
    assert (found["id"], found["suspended_reason"]) == (str(tenant_id), "unpaid")
    assert chief.post(f"/admin/tenants/{tenant_id}/resume").status_code == 204
    assert demo.get("/me").status_code == 200
    own = chief.post(f"/admin/tenants/{service.scope(chief).tenant_id}/suspend", {"reason": "oops"})
    assert (own.status_code, own.json()["code"]) == (409, "not_own_tenant")


@on_both
def test_who_is_deactivated_is_out_at_once(service: InProcess, demo: Person, chief: Person) -> None:
    path = f"/admin/users/{user_id(service, demo)}"
    key = demo.post("/keys", {"name": "x", "scopes": ["read"]}).json()["key"]
    assert chief.get(path).json()["keys"] == 1
    assert chief.post(f"{path}/deactivate", {"reason": "spam"}).status_code == 204

    def statuses() -> list[int]:
        ways = (demo.headers["Authorization"], f"Key {key}")
        return [service.client.get("/api/v1/me", headers={"Authorization": way}).status_code for way in ways]

    assert statuses() == [401, 401]
    assert [row["email"] for row in chief.get("/admin/users?status=deactivated").json()] == [demo.email]
    assert chief.post(f"{path}/activate").status_code == 204
    assert statuses() == [401, 200], "logins have ended, keys only slept"
    answer = chief.post(f"/admin/users/{user_id(service, chief)}/deactivate", {"reason": "tired"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_oneself")


@on_both
def test_an_operator_is_left(service: InProcess, chief: Person) -> None:
    other = operator(service, "second@example.com")
    ids = {person.email: user_id(service, person) for person in (chief, other)}
    assert chief.post(f"/admin/users/{ids[chief.email]}/operator", {"on": False}).json()["code"] == "not_oneself"

    def unmake(by: Person, whom: Person) -> int:
        return by.post(f"/admin/users/{ids[whom.email]}/operator", {"on": False}).status_code

    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(unmake, (chief, other), (other, chief)))
    assert answers.count(204) == 1, answers
    with service.wiring.database.read() as session:
        assert len(list(session.scalars(select(User).where(User.operator.is_(True))))) == 1


@on_both
def test_a_grant_is_repeated_safely(service: InProcess, demo: Person, chief: Person) -> None:
    path = f"/admin/users/{user_id(service, demo)}/grants"
    key = {"Idempotency-Key": "once"}
    body = {"credits": 2.5, "reason": "a present"}
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: chief.post(path, body, headers=key).status_code, range(6))) == {204}
    assert demo.money() == (12.5, 0)
    for again, changed in ((path, {"credits": 3}), (f"/admin/users/{user_id(service, chief)}/grants", {})):
        assert chief.post(again, body | changed, headers=key).json()["code"] == "idempotency_key_reused"
    assert chief.post(path, body | {"credits": 0.5}).status_code == 204
    assert demo.money() == (13, 0)


@on_both
def test_grants(service: InProcess, demo: Person, chief: Person) -> None:
    path = f"/admin/users/{user_id(service, demo)}/grants"
    soon = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert chief.post(path, {"credits": 2.5, "reason": "a present", "expires_at": soon}).status_code == 204
    assert demo.money() == (12.5, 0)
    entry = last_entry(service)
    assert (entry.action, entry.reason, entry.tenant_id) == (
        "credits.granted",
        "a present",
        service.scope(demo).tenant_id,
    )
    other = {"tenant_id": str(service.scope(chief).tenant_id)}
    assert chief.post(path, {"credits": 1, "reason": "a present"} | other).status_code == 404
    wrong: list[dict[str, Any]] = [{"credits": 0}, {"credits": -1}, {"credits": "1e400"}, {"reason": ""}]
    wrong += [{"credits": True}, {"credits": "3"}, {"credits": 1e10}]
    moments = ("0001-01-01T00:00:00+14:00", "2020-01-01T00:00:00Z", "2300-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00")
    wrong += [{"expires_at": moment} for moment in moments]
    for each in wrong:
        assert chief.post(path, {"credits": 1, "reason": "a present"} | each).status_code == 422, each
    assert demo.money() == (12.5, 0)


@on_both
def test_a_tenant_is_erased_for_its_owner(service: InProcess, demo: Person, chief: Person) -> None:
    tenant_id = service.scope(demo).tenant_id
    path, name = f"/admin/tenants/{tenant_id}/erase", demo.get("/tenant").json()["name"]
    assert chief.post(path, {"name": "another", "reason": "left us"}).json()["code"] == "tenant_name_wrong"
    own = f"/admin/tenants/{service.scope(chief).tenant_id}/erase"
    answer = chief.post(own, {"name": chief.get("/tenant").json()["name"], "reason": "left us"})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_own_tenant")
    gone = chief.post(path, {"name": name, "reason": "left us"}).json()
    assert (gone["tenants"], gone["by"]) == (
        [str(tenant_id)],
        {"kind": "operator", "id": str(user_id(service, chief))},
    )
    assert chief.post("/erasures/verify", {"receipt": gone["receipt"]}).json()["tenants"] == [str(tenant_id)]
    assert demo.get("/me").status_code == 401
    entry = last_entry(service)
    assert (entry.action, entry.actor_kind, entry.reason) == ("tenant.erased", "operator", "left us")
    assert chief.post(path, {"name": name, "reason": "left us"}).status_code == 404


def test_a_refund_is_given_once(service: InProcess, demo: Person, chief: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    path = f"/admin/tasks/{task_id}/refund"
    assert chief.post(path, {"reason": "noise"}).status_code == 409, "it has cost nothing yet"
    assert service.work()
    assert demo.money() == (9, 0)
    assert chief.post(path, {"reason": "noise"}).json() == {"credits": 1}
    assert demo.money() == (10, 0)
    assert chief.post(path, {"reason": "noise"}).status_code == 409
    assert chief.post(f"/admin/tasks/{uuid4()}/refund", {"reason": "noise"}).status_code == 404
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []


@on_both
@pytest.mark.parametrize("gone", ["removed", "erased"])
def test_a_refund_for_who_is_gone_is_the_first_owner_s(
    service: InProcess, demo: Person, chief: Person, warmup: Path, gone: str
) -> None:
    member = colleague(service, demo, "member@example.com")
    give(service, demo, member, 1_000)
    them, owner = service.scope(member), user_id(service, demo)
    task_id = member.submit(member.upload(warmup))
    assert service.work()
    if gone == "removed":
        assert demo.delete(f"/tenant/members/{them.user_id}").status_code == 200
    else:
        erase.erase_person(service.wiring, COMMAND, user_id(service, member))
    assert chief.post(f"/admin/tasks/{task_id}/refund", {"reason": "noise"}).json() == {"credits": 1}
    assert (demo.money(), demo.entries()[-1]) == ((10, 0), ("refund", 1))
    assert last_entry(service).after == {"millicredits": 1_000, "user_id": str(owner)}
    assert chief.post(f"/admin/tasks/{task_id}/refund", {"reason": "noise"}).json()["code"] == "already_refunded"
    with service.wiring.database.read() as session:
        assert credit.balance(session, them) == (0, 0)
        assert credit.verify(session) == []


@on_both
def test_nobody_gets_a_refund_in_a_tenant_that_was_erased(
    service: InProcess, demo: Person, chief: Person, warmup: Path
) -> None:
    task_id, scope = demo.submit(demo.upload(warmup)), service.scope(demo)
    assert service.work()
    erase.erase_tenant(service.wiring, COMMAND, scope.tenant_id)
    answer = chief.post(f"/admin/tasks/{task_id}/refund", {"reason": "noise"})
    assert (answer.status_code, answer.json()["code"]) == (409, "nobody_to_refund")
    with service.wiring.database.read() as session:
        assert credit.balance(session, scope) == (0, 0)
        assert credit.verify(session) == []


def test_logging_somebody_out(service: InProcess, demo: Person, chief: Person) -> None:
    assert chief.post(f"/admin/users/{user_id(service, demo)}/logout").status_code == 204
    assert demo.get("/me").status_code == 401
    assert last_entry(service).action == "logins.ended"


def test_nothing_is_done_with_who_was_erased(service: InProcess, demo: Person, chief: Person) -> None:
    erased = user_id(service, demo)
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.id == erased).values(active=False, erased_at=datetime.now(UTC)))
    for path, body in (("activate", None), ("operator", {"on": True}), ("grants", {"credits": 1, "reason": "x"})):
        assert chief.post(f"/admin/users/{erased}/{path}", body).status_code == 404, path
