"""Settings that operators change while the service runs."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from backend.models import AuditEntry, RuntimeSetting
from backend.setting.service import CHANGEABLE
from tests.operators import operator, send
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person


@pytest.fixture
def chief(service: InProcess) -> Person:
    return operator(service)


@pytest.fixture
def _log_level() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


def put(chief: Person, name: str, value: Any) -> int:
    return send(chief, "PUT", f"/admin/settings/{name}", {"value": value}).status_code


def listed(chief: Person) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in chief.get("/admin/settings").json()}


def eventually(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_all_that_can_be_changed_is_listed_with_its_meaning(service: InProcess, chief: Person) -> None:
    found = listed(chief)
    assert tuple(found) == CHANGEABLE
    assert all(row["meaning"] and not row["changed"] and row["value"] == row["environment"] for row in found.values())
    assert found["credit.price"]["value"] == 1000


@on_both
def test_a_change_is_in_force_at_once_and_in_other_processes_soon(
    service: InProcess, make_service: MakeService, chief: Person, warmup: Path
) -> None:
    other = make_service()
    demo, there = service.login(), other.login()
    before = demo.submit(demo.upload(warmup))
    assert put(chief, "credit.price", 2000) == 204
    assert demo.get("/credits").json()["price"] == 2
    eventually(lambda: there.get("/credits").json()["price"] == 2)
    service.room.wiring.running.look()
    assert service.room.wiring.settings.credit.price == 2000, "a worker's"
    demo.submit(demo.upload(warmup))
    assert demo.money() == (7, 3), "what was ordered before keeps its price"
    assert service.row(before).price == 1000
    assert listed(chief)["credit.price"] | {"meaning": ""} == {
        "name": "credit.price",
        "value": 2000,
        "environment": 1000,
        "changed": True,
        "meaning": "",
    }
    late = make_service()
    assert late.login().get("/credits").json()["price"] == 2, "from its first request on"
    assert send(chief, "DELETE", "/admin/settings/credit.price").status_code == 204
    assert demo.get("/credits").json()["price"] == 1
    eventually(lambda: there.get("/credits").json()["price"] == 1)


@pytest.mark.usefixtures("_log_level")
def test_each_setting_does_what_it_says(service: InProcess, chief: Person, warmup: Path) -> None:
    demo = service.login()
    client, api = service.client, "/api/v1"
    newcomer = {"email": "new@example.com", "password": "a long pass phrase"}
    assert put(chief, "auth.registration", False) == 204
    assert client.post(f"{api}/register", json=newcomer).json()["code"] == "registration_closed"
    assert put(chief, "auth.registration", None) == put(chief, "auth.invitation_only", True) == 204
    assert client.post(f"{api}/register", json=newcomer).json()["code"] == "invitation_refused"
    assert put(chief, "auth.invitation_only", False) == put(chief, "credit.signup_grant", 3000) == 204
    token = client.post(f"{api}/register", json=newcomer).json()["access_token"]
    assert client.get(f"{api}/me", headers={"Authorization": f"Bearer {token}"}).json()["credits"] == 3
    assert put(chief, "upload.max_bytes", 1000) == 204
    assert demo.send(warmup).status_code == 413
    assert put(chief, "upload.max_bytes", 10_000_000) == put(chief, "upload.max_seconds", 5) == 204
    assert demo.send(warmup).json()["code"] == "audio_too_long"
    assert put(chief, "upload.max_seconds", 3600) == 204
    assert put(chief, "queue.plans", {"standard": 1, "gold": 5}) == 204
    path = f"/admin/tenants/{service.scope(demo).tenant_id}"
    assert send(chief, "PATCH", path, {"plan": "gold"}).status_code == 200
    assert send(chief, "PATCH", path, {"plan": "priority"}).status_code == 422
    assert put(chief, "limit.separate", "1 per hour") == 204
    orders = [demo.post("/separate", {"filename": "warmup.mp3"}) for _ in range(2)]
    assert [answer.status_code for answer in orders] == [202, 429]
    assert put(chief, "limit.login", "1 per hour") == 204
    logins = [client.post(f"{api}/login", json={"email": "x@example.com", "password": "x"}) for _ in range(2)]
    assert [answer.status_code for answer in logins] == [401, 429]
    for name in ("user", "tenant", "key", "address"):
        assert put(chief, f"limit.{name}", "5000 per minute") == 204
    me = demo.get("/me").headers["ratelimit-policy"]
    assert me == '"address";q=5000;w=60, "user";q=5000;w=60, "tenant";q=5000;w=60'
    assert put(chief, "log_level", "ERROR") == 204
    assert logging.getLogger().level == logging.ERROR


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("credit.price", -1),
        ("credit.price", "1000"),
        ("credit.price", True),
        ("credit.block_seconds", 0),
        ("limit.separate", "often"),
        ("limit.login", None),
        ("auth.registration", "yes"),
        ("queue.plans", {"standard": 0}),
        ("log_level", "LOUD"),
        ("upload.max_seconds", 0),
        ("upload.max_seconds", "1e400"),
        ("upload.max_bytes", 10**19),
        ("credit.price", 10**19),
        ("credit.block_seconds", 10**19),
        ("credit.signup_grant", 10**19),
        ("credit.signup_grant", 9 * 10**18),
        ("limit.user", "0 per minute"),
        ("limit.address", "5 per minute; 0 per hour"),
        ("limit.tenant", "5 per 0 minutes"),
        ("limit.key", "5/00 second"),
        ("limit.separate", f"{10**30} per minute"),
        ("limit.login", f"1 per {10**12} years"),
        ("queue.plans", {"": 1}),
        ("queue.plans", {"x" * 101: 1}),
        ("queue.plans", {"\0": 1}),
    ],
)
def test_what_can_t_be_is_refused_and_named(service: InProcess, chief: Person, name: str, value: Any) -> None:
    # Python's own writer refuses what JSON has, a number above all of its own.
    number = value if value == "1e400" else json.dumps(value)
    headers = chief.headers | {"Content-Type": "application/json"}
    path = f"/api/v1/admin/settings/{name}"
    answer = service.client.put(path, content=f'{{"value": {number}}}', headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "setting_invalid")
    assert name in answer.json()["detail"]
    assert listed(chief)[name]["changed"] is False


def test_production_takes_nothing_that_it_would_not_start_with(
    make_service: MakeService, caplog: pytest.LogCaptureFixture
) -> None:
    secret = {"secret": "not the one of development, and long enough"}
    service = make_service(environment="production", auth=secret, limit={"login": "10 per second"})
    chief, unsafe = operator(service), "1000000 per second"
    answer = send(chief, "PUT", "/admin/settings/limit.login", {"value": unsafe})
    assert (answer.status_code, answer.json()["code"]) == (422, "setting_invalid")
    assert answer.json()["detail"].startswith("limit.login: VR_LIMIT__LOGIN lets an address guess passwords")
    assert listed(chief)["limit.login"]["changed"] is False
    assert put(chief, "limit.login", "5 per second") == put(chief, "credit.price", 1500) == 204
    with service.wiring.database.write() as session:  # by a version that took it
        session.execute(update(RuntimeSetting).where(RuntimeSetting.name == "limit.login").values(value=unsafe))
    service.wiring.running.look()
    settings = service.wiring.settings
    assert (settings.limit.login, settings.credit.price) == ("10 per second", 1500)
    assert "limit.login is not valid here" in caplog.text


@pytest.mark.parametrize("name", ["auth.secret", "db.url", "environment", "credit", "credit.nothing", "__class__"])
def test_secrets_and_the_machine_s_settings_stay_the_environment_s(
    service: InProcess, chief: Person, name: str
) -> None:
    for method in ("PUT", "DELETE"):
        answer = send(chief, method, f"/admin/settings/{name}", {"value": "x"} if method == "PUT" else None)
        assert (answer.status_code, answer.json()["code"]) == (404, "setting_not_found")


def test_the_log_has_what_it_was_and_what_it_is(service: InProcess, chief: Person) -> None:
    put(chief, "credit.price", 1500)
    put(chief, "credit.price", 1600)
    send(chief, "DELETE", "/admin/settings/credit.price")
    send(chief, "DELETE", "/admin/settings/credit.price")
    with service.wiring.database.read() as session:
        rows = session.scalars(
            select(AuditEntry).where(AuditEntry.action.startswith("setting.")).order_by(AuditEntry.id)
        )
        seen = [(row.action, row.before, row.after) for row in rows]
    assert seen == [
        ("setting.changed", {"value": 1000}, {"value": 1500}),
        ("setting.changed", {"value": 1500}, {"value": 1600}),
        ("setting.unset", {"value": 1600}, {"value": 1000}),
    ]


def test_what_is_known_outlives_the_database(service: InProcess, chief: Person) -> None:
    put(chief, "credit.price", 1500)
    with service.wiring.database.write() as session:
        RuntimeSetting.__table__.drop(session.connection())  # type: ignore[attr-defined]
    service.wiring.running.look()
    assert service.wiring.settings.credit.price == 1500


def test_a_stored_value_that_this_version_can_t_take_is_left_out(
    service: InProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with service.wiring.database.write() as session:
        session.add_all(
            [RuntimeSetting(name=name, value=value) for name, value in (("credit.price", "x"), ("gone", 1))]
        )
        session.add(RuntimeSetting(name="credit.block_seconds", value=60))
    service.wiring.running.look()
    eventually(lambda: service.wiring.settings.credit.block_seconds == 60)
    assert service.wiring.settings.credit.price == 1000
    assert "credit.price" in caplog.text
