"""A webhook for one task: given with the order, hidden among the tenant's, gone with its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, update

from backend.clock import database_now
from backend.models import Membership, Webhook, WebhookDelivery
from backend.webhook import outbox
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

URL = "https://example.com/hook"
SECRET = "whsec_" + "A" * 32


def order(person: Person, song: str, **more: Any) -> dict[str, Any]:
    answer = person.post("/separate", {"upload_id": song, **more})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def hook_of(person: Person, task_id: str) -> dict[str, Any]:
    [found] = person.get(f"/webhooks?task_id={task_id}").json()
    return dict(found)


def heard(person: Person, webhook: str) -> list[str]:
    """The tasks that a webhook was told of."""
    path = f"/webhooks/{webhook}/deliveries"
    rows = [person.get(f"{path}/{row['id']}").json() for row in person.get(path).json()]
    return [row["payload"]["data"]["task_id"] for row in rows]


def cancel(person: Person, task_id: str) -> None:
    assert person.post(f"/tasks/{task_id}/cancel").status_code == 200


@on_both
def test_it_hears_of_its_task_and_of_no_other(demo: Person, stranger: Person, warmup: Path) -> None:
    general = demo.post("/webhooks", {"url": URL}).json()["id"]
    song = demo.upload(warmup)
    ordered = order(demo, song, webhook=URL)
    assert ordered["webhook_secret"].startswith("whsec_")
    task_id, other = ordered["task_id"], order(demo, song)
    assert other["webhook_secret"] is None
    hook = hook_of(demo, task_id)
    assert (hook["task_id"], hook["url"], hook["enabled"]) == (task_id, URL, True)
    assert hook["events"] == ["task.completed", "task.failed", "task.cancelled"]
    cancel(demo, other["task_id"])
    assert heard(demo, hook["id"]) == []
    cancel(demo, task_id)
    assert heard(demo, hook["id"]) == [task_id]
    assert sorted(heard(demo, general)) == sorted([task_id, other["task_id"]])

    assert [row["id"] for row in demo.get("/webhooks").json()] == [general]
    assert demo.get(f"/webhooks?task_id={other['task_id']}").json() == []
    assert stranger.get(f"/webhooks?task_id={task_id}").json() == []
    assert stranger.get(f"/webhooks/{hook['id']}").status_code == 404


def test_many_songs_have_one_secret(demo: Person, warmup: Path) -> None:
    songs = [demo.upload(warmup, f"{number}.mp3") for number in range(3)]
    answer = demo.post("/tasks", {"upload_ids": songs, "webhook": URL, "webhook_secret": SECRET}).json()
    assert answer["webhook_secret"] == SECRET
    assert {hook_of(demo, task_id)["task_id"] for task_id in answer["task_ids"]} == set(answer["task_ids"])


def test_a_repeated_request_gives_the_same_secret_and_another_url_is_another_request(
    demo: Person, warmup: Path
) -> None:
    song = demo.upload(warmup)

    def ask(**more: Any) -> Any:
        return demo.post("/separate", {"upload_id": song, **more}, headers={"Idempotency-Key": "once"})

    first = ask(webhook=URL)
    assert ask(webhook=URL).json() == first.json()
    for other in ({}, {"webhook": f"{URL}/2"}, {"webhook": URL, "webhook_secret": SECRET}):
        assert ask(**other).json()["code"] == "idempotency_key_reused"
    assert len(demo.get("/history").json()) == 1


def test_a_task_that_is_repeated_is_told_too(service: InProcess, demo: Person, warmup: Path) -> None:
    ordered = order(demo, demo.upload(warmup), webhook=URL)
    cancel(demo, ordered["task_id"])
    again = demo.post(f"/tasks/{ordered['task_id']}/retry").json()["task_id"]
    assert hook_of(demo, again)["url"] == URL
    with service.wiring.database.read() as session:
        assert set(session.scalars(select(Webhook.secret))) == {ordered["webhook_secret"]}
    cancel(demo, again)
    assert heard(demo, hook_of(demo, again)["id"]) == [again]


@pytest.mark.parametrize(
    "url", ["http://example.com/", "https://127.0.0.1/", "https://169.254.169.254/x", "https://a:b@c.de/", "https://"]
)
def test_where_none_may_point_none_is_taken(demo: Person, warmup: Path, url: str) -> None:
    song = demo.upload(warmup)
    for path, body in (("/separate", {"upload_id": song}), ("/tasks", {"upload_ids": [song]})):
        answer = demo.post(path, body | {"webhook": url})
        assert (answer.status_code, answer.json()["code"]) == (422, "webhook_url_refused")
        assert answer.json()["errors"][0]["field"] == "body.webhook"
    assert demo.get("/history").json() == []
    assert demo.money() == (10, 0)


def test_what_is_no_secret(demo: Person, warmup: Path) -> None:
    song = demo.upload(warmup)
    for secret in (
        "whsec_",
        "A" * 32,
        "whsec_" + "A" * 31,
        "whsec_" + "A" * 28,
        "whsec_" + "A" * 92,
        "whsec_" + "ä" * 32,
    ):
        answer = demo.post("/separate", {"upload_id": song, "webhook": URL, "webhook_secret": secret})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), secret
    assert demo.post("/separate", {"upload_id": song, "webhook_secret": SECRET}).status_code == 422
    assert order(demo, song, webhook=URL, webhook_secret="whsec_" + "+/" * 42 + "AA==")["task_id"]


def test_members_may_give_one_and_it_counts_as_none_of_the_tenant_s(make_service: MakeService, warmup: Path) -> None:
    service = make_service(webhook={"max_per_tenant": 1})
    demo = service.login()
    song = demo.upload(warmup)
    for _ in range(2):
        order(demo, song, webhook=URL)
    assert demo.post("/webhooks", {"url": URL}).status_code == 201
    with service.wiring.database.write() as session:
        session.execute(update(Membership).values(role="member"))
    assert order(demo, song, webhook=URL)["webhook_secret"]


@on_both
def test_it_goes_with_its_log_once_its_task_is_over(service: InProcess, demo: Person, warmup: Path) -> None:
    general = demo.post("/webhooks", {"url": URL}).json()["id"]
    song = demo.upload(warmup)
    over, waiting, young = (order(demo, song, webhook=URL)["task_id"] for _ in range(3))
    cancel(demo, over)
    cancel(demo, young)
    old = database_now(-31 * 86_400)
    with service.wiring.database.write() as session:
        session.execute(
            update(Webhook).where(Webhook.task_id.is_(None) | (Webhook.task_id != UUID(young))).values(created_at=old)
        )
        outbox.forget_old(session, 30)
        assert session.scalar(select(func.count()).select_from(Webhook)) == 4, "one that has deliveries stays"
        session.execute(update(WebhookDelivery).values(created_at=old))
        outbox.forget_old(session, 30)
        left = set(session.scalars(select(Webhook.id)))
    assert left == {UUID(hook_of(demo, waiting)["id"]), UUID(hook_of(demo, young)["id"]), UUID(general)}
