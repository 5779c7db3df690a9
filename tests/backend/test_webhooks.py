"""The routes of webhooks: whose they are, what is refused, who is told."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update

from backend.models import Membership, WebhookDelivery
from backend.task import lifecycle
from backend.webhook import repository
from backend.webhook import service as webhooks
from tests.processes import wait_until
from tests.servers import on_both, waiting
from tests.service import InProcess, MakeService, Person

URL = "https://example.com/hook"
ALL = ["task.completed", "task.failed", "task.cancelled", "credits.low"]


def call(person: Person, method: str, path: str, json: Any = None) -> Any:
    return person.client.request(method, f"/api/v1{path}", json=json, headers=person.headers)


def create(person: Person, **more: Any) -> dict[str, Any]:
    answer = person.post("/webhooks", {"url": URL, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def kinds(service: InProcess) -> list[str]:
    with service.wiring.database.read() as session:
        return list(session.scalars(select(WebhookDelivery.kind).order_by(WebhookDelivery.id)))


def cancelled_task(person: Person, song: Path) -> str:
    task_id = person.submit(person.upload(song))
    assert person.post(f"/tasks/{task_id}/cancel").status_code < 300
    return task_id


@on_both
def test_a_webhook_from_first_to_last(demo: Person) -> None:
    made = create(demo, description="Mischpult")
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert (made["events"], made["enabled"], made["notice"]) == (ALL, True, None)
    path = f"/webhooks/{made['id']}"
    assert demo.get("/webhooks").json() == [made]
    assert demo.get(path).json() == made

    changed = call(demo, "PATCH", path, {"events": ["credits.low", "task.failed"], "enabled": False}).json()
    assert (changed["events"], changed["enabled"]) == (["task.failed", "credits.low"], False)
    assert changed["notice"] is None  # who switched it off knows
    assert demo.post(f"{path}/test").json()["code"] == "webhook_disabled"
    assert call(demo, "PATCH", path, {"enabled": True}).json()["enabled"] is True

    renewed = demo.post(f"{path}/secret").json()
    assert renewed["secret"].startswith("whsec_")
    assert renewed["secret"] != secret

    sent = demo.post(f"{path}/test")
    assert (sent.status_code, sent.json()["event"], sent.json()["status"]) == (202, "webhook.test", "pending")
    [listed] = demo.get(f"{path}/deliveries?status=pending").json()
    assert listed == sent.json()
    assert demo.get(f"{path}/deliveries?status=failed").json() == []
    record = demo.get(f"{path}/deliveries/{listed['id']}").json()
    assert (record["payload"]["type"], record["log"]) == ("webhook.test", [])
    assert demo.post(f"{path}/deliveries/{listed['id']}/replay").json()["code"] == "delivery_pending"

    assert demo.delete(path).status_code == 204
    assert demo.delete(path).json()["code"] == "webhook_not_found"
    assert demo.get(f"{path}/deliveries").status_code == 404
    assert demo.get(f"{path}/deliveries/{listed['id']}").json()["code"] == "delivery_not_found"


def test_what_is_refused(make_service: MakeService) -> None:
    service = make_service(webhook={"max_per_tenant": 2})
    demo = service.login()
    for url in ("http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/latest", "https://a:b@c.de/"):
        answer = demo.post("/webhooks", {"url": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_refused")
        assert answer.json()["errors"][0]["field"] == "body.url"
    for body in ({}, {"url": URL, "events": []}, {"url": URL, "events": ["task.started"]}, {"url": URL, "secret": "x"}):
        assert demo.post("/webhooks", body).json()["code"] == "invalid_request"
    path = f"/webhooks/{create(demo)['id']}"
    assert call(demo, "PATCH", path, {"url": "https://[::1]/"}).json()["code"] == "webhook_url_refused"
    assert demo.get(path).json()["url"] == URL
    create(demo)
    assert demo.post("/webhooks", {"url": URL}).json()["code"] == "too_many_webhooks"
    for below in (0, -1, "much", 1e12):
        assert call(demo, "PUT", "/webhooks/credits-low", {"below": below}).status_code == 422


@on_both
def test_a_strangers_webhook_is_none(demo: Person, stranger: Person, service: InProcess) -> None:
    path = f"/webhooks/{create(demo)['id']}"
    delivery = f"/deliveries/{demo.post(f'{path}/test').json()['id']}"
    foreign = f"/webhooks/{create(stranger)['id']}"
    routes: list[tuple[str, str, Any]] = [
        ("GET", "", None),
        ("GET", "/deliveries", None),
        ("GET", delivery, None),
        ("POST", f"{delivery}/replay", None),
        ("POST", "/test", None),
        ("POST", "/secret", None),
        ("PATCH", "", {"description": "mine"}),
        ("DELETE", "", None),
    ]
    for method, rest, body in routes:
        hidden = call(stranger, method, path + rest, body)
        random = call(stranger, method, f"/webhooks/{uuid4()}{rest}", body)
        assert hidden.status_code == random.status_code == 404
        assert hidden.json() | {"request_id": ""} == random.json() | {"request_id": ""}
        # One's own webhook opens no way to another's delivery.
        if delivery in rest:
            assert call(stranger, method, foreign + rest, body).status_code == 404
    for method, rest, body in routes:
        assert call(demo, method, path + rest, body).status_code in (200, 202, 204, 409), (method, rest)
    assert len(stranger.get("/webhooks").json()) == 1

    assert call(demo, "PUT", "/webhooks/credits-low", {"below": 3}).json() == {"below": 3}
    assert stranger.get("/webhooks/credits-low").json() == {"below": None}


def test_members_do_not_manage_webhooks(service: InProcess, demo: Person) -> None:
    path = f"/webhooks/{create(demo)['id']}"
    for role, allowed in (("member", False), ("admin", True)):
        with service.wiring.database.write() as session:
            scope = service.scope(demo)
            session.execute(update(Membership).where(Membership.tenant_id == scope.tenant_id).values(role=role))
        for method, where, body in (
            ("GET", "/webhooks", None),
            ("POST", "/webhooks", {"url": URL}),
            ("GET", path, None),
            ("GET", "/webhooks/credits-low", None),
            ("PUT", "/webhooks/credits-low", {"below": 1}),
            ("POST", f"{path}/secret", None),
        ):
            answer = call(demo, method, where, body)
            assert answer.is_success if allowed else answer.json()["code"] == "role_needed"


@on_both
def test_each_listener_is_told_in_the_tasks_transaction(
    service: InProcess, demo: Person, stranger: Person, warmup: Path
) -> None:
    hearing, deaf, off = create(demo), create(demo, events=["task.completed"]), create(demo)
    create(stranger)
    call(demo, "PATCH", f"/webhooks/{off['id']}", {"enabled": False})
    task_id = cancelled_task(demo, warmup)
    [told] = demo.get(f"/webhooks/{hearing['id']}/deliveries").json()
    payload = demo.get(f"/webhooks/{hearing['id']}/deliveries/{told['id']}").json()["payload"]
    assert payload["type"] == told["event"] == "task.cancelled"
    assert payload["data"]["task_id"] == task_id
    assert (payload["data"]["filename"], payload["data"]["credits"]) == ("song.mp3", 0)
    assert demo.get(f"/webhooks/{deaf['id']}/deliveries").json() == []
    assert kinds(service) == ["task.cancelled"]

    other = demo.submit(demo.upload(warmup))
    row = service.row(other)
    with pytest.raises(KeyError), service.wiring.database.write() as session:
        assert lifecycle.cancel(session, row.id, "queued", row.attempt)
        raise KeyError("the transaction fails")
    assert kinds(service) == ["task.cancelled"]


@on_both
def test_removing_a_webhook_waits_for_the_transaction_that_tells_it(
    service: InProcess, demo: Person, warmup: Path
) -> None:
    """Else a worker's last transaction would fail for a row that somebody removed meanwhile."""
    path = f"/webhooks/{create(demo)['id']}"
    row = service.row(demo.submit(demo.upload(warmup)))
    database = service.wiring.database

    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            repository.listening(session, row.tenant_id, row.id)  # what telling begins with
            removed = pool.submit(lambda: demo.delete(path).status_code)
            wait_until(lambda: waiting(database) or removed.done())
            assert not removed.done()
            assert lifecycle.cancel(session, row.id, "queued", row.attempt)
        assert removed.result() == 204
    assert kinds(service) == []
    assert service.row(str(row.id)).status == "cancelled"


def test_deliveries_page(demo: Person) -> None:
    path = f"/webhooks/{create(demo)['id']}"
    made = [demo.post(f"{path}/test").json()["id"] for _ in range(5)]
    first = demo.get(f"{path}/deliveries?limit=2")
    second = demo.client.get(first.links["next"]["url"], headers=demo.headers)
    third = demo.client.get(second.links["next"]["url"], headers=demo.headers)
    assert [row["id"] for page in (first, second, third) for row in page.json()] == made[::-1]
    assert "next" not in third.links


@on_both
def test_an_erased_tenant_leaves_no_messages(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    for person in (demo, stranger):
        create(person)
        call(person, "PUT", "/webhooks/credits-low", {"below": 5})
        cancelled_task(person, warmup)
    with service.wiring.database.write() as session:
        webhooks.forget_tenant(session, service.scope(demo).tenant_id)
    assert demo.get("/webhooks").json() == []
    assert demo.get("/webhooks/credits-low").json() == {"below": None}
    assert len(stranger.get("/webhooks").json()) == 1
    assert kinds(service) == ["task.cancelled"]
