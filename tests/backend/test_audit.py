"""The audit log: what tenants and operators see of it, and what is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from sqlalchemy import select

from backend.audit import service as audit
from backend.audit.service import SERVICE, Actor
from backend.auth.schemas import DEMO
from backend.clock import database_now
from backend.models import AuditEntry
from tests.operators import operator, user_id
from tests.servers import on_both
from tests.service import InProcess, Person
from workers.tidy import Tidy


@pytest.fixture
def chief(service: InProcess) -> Person:
    return operator(service)


def actions(person: Person, path: str, **query: Any) -> list[str]:
    answer = person.get(f"{path}?{urlencode(query)}")
    assert answer.status_code == 200, answer.text
    return [row["action"] for row in answer.json()]


@on_both
def test_a_tenant_sees_its_own(service: InProcess, demo: Person, stranger: Person, chief: Person) -> None:
    made = demo.post("/keys", {"name": "x", "scopes": ["read"]}).json()
    stranger.post("/keys", {"name": "x", "scopes": ["read"]})
    assert demo.delete(f"/keys/{made['id']}").status_code == 204
    assert demo.delete(f"/keys/{uuid4()}").status_code == 404, "and leaves no entry"
    assert actions(demo, "/tenant/audit") == ["key.revoked", "key.made", "user.created"]
    assert actions(stranger, "/tenant/audit") == ["key.made", "user.created"]
    revoked, first, created = demo.get("/tenant/audit").json()
    assert (revoked["by"], revoked["actor_id"], revoked["target"]) == (
        "user",
        str(user_id(service, demo)),
        made["id"],
    )
    assert (first["after"]["scopes"], first["address"]) == ("read", "127.0.0.1")
    assert (created["by"], created["actor_id"], created["address"]) == ("command", None, None)
    page = demo.get("/tenant/audit?limit=1")
    assert [row["action"] for row in page.json()] == ["key.revoked"]
    assert actions(demo, "/tenant/audit", cursor=revoked["id"], limit=1) == ["key.made"]


def test_only_admins_read_it(service: InProcess, demo: Person) -> None:
    key = demo.post("/keys", {"name": "x", "scopes": ["read"]}).json()["key"]
    answer = service.client.get("/api/v1/tenant/audit", headers={"Authorization": f"Key {key}"})
    assert answer.status_code == 200, "also with a key that may read"


@on_both
def test_the_operator_finds_what_happened(service: InProcess, demo: Person, stranger: Person, chief: Person) -> None:
    demo.post("/keys", {"name": "x", "scopes": ["read"]})
    stranger.post("/keys", {"name": "x", "scopes": ["read"]})
    path = "/admin/audit"
    assert len(actions(chief, path, action="key.made")) == 2
    assert actions(chief, path, actor_id=user_id(service, demo)) == ["key.made"]
    assert "user.created" in actions(chief, path, tenant_id=service.scope(stranger).tenant_id)
    now = datetime.now(UTC)
    hour = timedelta(hours=1)
    assert actions(chief, path, **{"from": now + hour}) == actions(chief, path, to=now - hour) == []
    everything = actions(chief, path)
    assert actions(chief, path, **{"from": now - hour, "to": now + hour}) == everything
    seen: list[str] = []
    page: str | None = f"{path}?limit=2"
    while page:
        answer = chief.get(page)
        seen += [row["action"] for row in answer.json()]
        page = answer.links["next"]["url"].removeprefix("/api/v1") if "next" in answer.links else None
    assert seen == everything
    early, late = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00"
    assert actions(chief, path, **{"from": early, "to": late}) == everything
    assert actions(chief, path, to="1960-01-01T00:00:00Z") == actions(chief, path, to=early) == []
    assert actions(chief, path, **{"from": late}) == []
    for wrong in ("action=%00", "from=yesterday", "tenant_id=x", "limit=0"):
        assert chief.get(f"{path}?{wrong}").status_code == 422, wrong


def test_a_stolen_refresh_token_is_in_the_log(service: InProcess, demo: Person) -> None:
    def refresh(token: str) -> Any:
        return service.client.post("/api/v1/refresh", json={"refresh_token": token}).json()

    refresh(refresh(demo.refresh_token)["refresh_token"])
    assert refresh(demo.refresh_token)["code"] == "refresh_refused"
    refresh(demo.refresh_token)
    again = service.login()
    (entry,) = (row for row in again.get("/tenant/audit").json() if row["action"] == "login.refresh_token_reused")
    assert (entry["by"], entry["address"], entry["target"]) == ("service", "127.0.0.1", str(user_id(service, again)))


def test_logins_and_logouts(service: InProcess, demo: Person) -> None:
    """One entry each, with where from; a wrong password and a refresh leave none."""
    service.client.post("/api/v1/login", json={"email": demo.email, "password": "wrong"})
    service.client.post("/api/v1/token", data={"username": demo.email, "password": DEMO["password"]})
    tokens = service.client.post("/api/v1/login", json=DEMO).json()
    tokens = service.client.post("/api/v1/refresh", json={"refresh_token": tokens["refresh_token"]}).json()
    headers = {"Authorization": f"Bearer {tokens['access_token']}"}
    assert service.client.post("/api/v1/logout", headers=headers).status_code == 204
    seen = demo.get("/tenant/audit").json()
    assert [row["action"] for row in seen] == ["login.ended", "login.started", "login.started", "user.created"]
    assert {(row["by"], row["actor_id"], row["address"]) for row in seen[:-1]} == {
        ("user", str(user_id(service, demo)), "127.0.0.1")
    }
    assert all(row["request_id"] for row in seen[:-1])


@on_both
def test_addresses_are_forgotten_in_time(service: InProcess, demo: Person, stranger: Person) -> None:
    tenant_id, who = service.scope(demo).tenant_id, user_id(service, demo)
    days = service.settings.audit.address_days
    with service.wiring.database.write() as session:
        for age in (days - 1, days + 1):
            row = AuditEntry(tenant_id=tenant_id, actor_kind="user", actor_id=who, action=f"{age} days ago")
            row.address, row.created_at = "192.0.2.1", database_now(-age * 86_400)
            session.add(row)
            session.flush()
        audit.record(session, SERVICE, "now", tenant_id=tenant_id)
    Tidy(service.wiring).run()

    def addresses() -> dict[str, str | None]:
        with service.wiring.database.read() as session:
            return {row.action: row.address for row in session.scalars(select(AuditEntry)) if row.actor_id == who}

    assert addresses() == {f"{days - 1} days ago": "192.0.2.1", f"{days + 1} days ago": None}
    other = Actor("user", user_id=user_id(service, stranger), address="192.0.2.2")
    with service.wiring.database.write() as session:
        audit.record(session, other, "of another")
        assert audit.forget_addresses(session, actor_id=who) == 1
    assert set(addresses().values()) == {None}
