"""Deliveries from the event to the receiver: signed, at least once, tried over days, given up, replayed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update
from standardwebhooks.webhooks import WebhookVerificationError

from backend.clock import database_now
from backend.models import Webhook, WebhookAttempt, WebhookDelivery
from backend.settings import ROOT
from backend.task import lifecycle
from backend.webhook import outbox
from backend.webhook.outbox import Outcome
from tests.processes import wait_until
from tests.receiver import Receiver, Reply, receiver
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.webhooks import QUICK, Hook, delivering, read
from workers.tidy import Tidy


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service(webhook=QUICK)


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


def expire(service: InProcess) -> None:
    with service.wiring.database.write() as session:
        session.execute(
            update(WebhookDelivery).where(WebhookDelivery.lease_until.is_not(None)).values(lease_until=database_now(-1))
        )


@on_both
def test_tasks_that_end_are_told(service: InProcess, demo: Person, server: Receiver, warmup: Path) -> None:
    hook = Hook(demo, server.url)
    song = demo.upload(warmup)
    done = demo.submit(song)
    assert service.work()
    cancelled = demo.submit(song)
    assert demo.post(f"/tasks/{cancelled}/cancel").status_code < 300
    failed = demo.submit(song)
    claim = lifecycle.claim(service.wiring.database, "somebody", 30)
    assert claim is not None
    lifecycle.fail(service.wiring.database, claim, "engine_error", "Nothing.", transient=False, max_attempts=3)
    with delivering(service):
        wait_until(lambda: len(server.got) == 3)
    messages = {message["type"]: message["data"] for message in (read(got, hook.secret) for got in server.got)}
    assert {kind: data["task_id"] for kind, data in messages.items()} == {
        "task.completed": done,
        "task.cancelled": cancelled,
        "task.failed": failed,
    }
    assert messages["task.completed"]["credits"] == 1
    assert messages["task.failed"]["credits"] == 0
    assert messages["task.failed"]["error_code"] == "engine_error"
    assert len({got.headers["webhook-id"] for got in server.got}) == 3


def test_a_task_is_told_where_its_order_says(service: InProcess, demo: Person, server: Receiver, warmup: Path) -> None:
    server.reply = lambda number: Reply(500) if number == 1 else Reply()
    song, own = demo.upload(warmup), f"whsec_{'A' * 32}"
    first = demo.post("/separate", {"upload_id": song, "webhook": server.url}).json()
    second = demo.post("/separate", {"upload_id": song, "webhook": server.url, "webhook_secret": own}).json()
    with delivering(service):
        assert demo.post(f"/tasks/{first['task_id']}/cancel").status_code == 200
        wait_until(lambda: len(server.got) == 2)  # tried again
        assert demo.post(f"/tasks/{second['task_id']}/cancel").status_code == 200
        wait_until(lambda: len(server.got) == 3)
    for got, secret, task in ((server.got[1], first["webhook_secret"], first), (server.got[2], own, second)):
        message = read(got, secret)
        assert (message["type"], message["data"]["task_id"]) == ("task.cancelled", task["task_id"])


def test_while_a_secret_is_replaced_both_sign(service: InProcess, demo: Person, server: Receiver) -> None:
    hook = Hook(demo, server.url)
    new = demo.post(f"{hook.path}/secret").json()["secret"]
    with delivering(service):
        hook.ended(hook.test(), "delivered")
        with service.wiring.database.write() as session:
            session.execute(update(Webhook).values(previous_until=database_now(-1)))
        hook.ended(hook.test(), "delivered")
    read(server.got[0], new, hook.secret)
    read(server.got[1], new)
    with pytest.raises(WebhookVerificationError):
        read(server.got[1], hook.secret)
    with pytest.raises(WebhookVerificationError):
        server.got[0].body += b" "
        read(server.got[0], new)


def test_tried_again_until_it_arrives(service: InProcess, demo: Person, server: Receiver) -> None:
    server.reply = lambda number: Reply(500, body=f"no {number}".encode()) if number < 3 else Reply(204, body=b"")
    hook = Hook(demo, server.url)
    with delivering(service):
        record = hook.ended(hook.test(), "delivered")
    log = [(entry["number"], entry["status"], entry["error"], entry["response"]) for entry in record["log"]]
    assert log == [(1, 500, "status_not_2xx", "no 1"), (2, 500, "status_not_2xx", "no 2"), (3, 204, None, "")]
    assert {got.headers["webhook-id"] for got in server.got} == {record["message_id"]}
    assert len({got.body for got in server.got}) == 1
    assert json.loads(server.got[0].body) == record["payload"]
    assert hook.view()["failing_since"] is None


def test_given_up_and_replayed(service: InProcess, demo: Person, server: Receiver) -> None:
    server.reply = lambda number: Reply(500) if number <= 4 else Reply()
    hook = Hook(demo, server.url)
    with delivering(service):
        record = hook.ended(hook.test(), "failed")
        assert (record["attempts"], record["next_at"]) == (4, None)
        assert hook.view()["failing_since"] is not None
        hook.replay(record["id"])
        again = hook.ended(record["id"], "delivered")
    assert [entry["number"] for entry in again["log"]] == [1, 2, 3, 4, 5]
    assert {got.headers["webhook-id"] for got in server.got} == {record["message_id"]}


@on_both
def test_many_workers_deliver_each_message_once(service: InProcess, demo: Person, server: Receiver) -> None:
    """And to one receiver one after the other."""
    hook = Hook(demo, server.url)
    made = [hook.test() for _ in range(20)]
    with delivering(service, workers=3):
        wait_until(lambda: len(demo.get(f"{hook.path}/deliveries?status=delivered").json()) == len(made))
    assert set(Counter(got.headers["webhook-id"] for got in server.got).values()) == {1}
    assert len(server.got) == len(made)


@on_both
def test_a_slow_receiver_holds_nobody_up(service: InProcess, demo: Person, stranger: Person, server: Receiver) -> None:
    server.release.clear()
    slow = [Hook(demo, server.url) for _ in range(6)]
    waiting = [hook.test() for hook in slow for _ in range(2)]
    with receiver() as quick, delivering(service, parallel=5):
        wait_until(lambda: server.at_once == 4)
        Hook(stranger, quick.url).test()
        wait_until(lambda: quick.got)  # there is a place that the slow ones can't take
        assert server.most_at_once == 4
        server.release.set()
        wait_until(lambda: len(server.got) == len(waiting))


KILLED = """
import sys, threading
from backend.db import Database
from backend.settings import Settings
from workers.deliver import Deliverer
settings = Settings(_env_file=None)
Deliverer(Database(settings), settings.webhook).start()
threading.Event().wait()
"""


@on_both
def test_a_killed_workers_delivery_goes_to_another(service: InProcess, demo: Person, server: Receiver) -> None:
    server.release.clear()
    hook = Hook(demo, server.url)
    delivery = hook.test()
    env = {name: value for name, value in os.environ.items() if not name.startswith("VR_")} | {
        "VR_DATA_DIR": str(service.settings.data_dir),
        "VR_DB__URL": service.settings.database_url,
        "VR_WEBHOOK__INSECURE": "true",
        "VR_WEBHOOK__ALLOWED_NETWORKS": "127.0.0.0/8",
    }
    child = subprocess.Popen([sys.executable, "-c", KILLED], cwd=ROOT, env=env)
    try:
        wait_until(lambda: server.got)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    server.release.set()
    with delivering(service):
        # Until the lease is over nobody else sends it.
        assert outbox.claim(service.wiring.database, 30) is None
        expire(service)
        record = hook.ended(delivery, "delivered")
    assert [entry["number"] for entry in record["log"]] == [2]  # of the first nobody knows what became
    assert [got.headers["webhook-id"] for got in server.got] == [record["message_id"]] * 2


@on_both
def test_a_late_result_changes_nothing(service: InProcess, demo: Person, server: Receiver) -> None:
    hook = Hook(demo, server.url)
    delivery = hook.test()
    database, settings = service.wiring.database, service.settings.webhook
    first = outbox.claim(database, 30)
    expire(service)
    second = outbox.claim(database, 30)
    assert first is not None
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    assert outbox.settle(database, settings, first, Outcome("timeout")) is False
    assert outbox.settle(database, settings, second, Outcome(None, 200)) is True
    assert outbox.settle(database, settings, second, Outcome("timeout")) is False
    record = hook.record(delivery)
    assert (record["status"], len(record["log"])) == ("delivered", 1)
    assert hook.view()["failing_since"] is None

    hook.test()
    third = outbox.claim(database, 30)
    assert third is not None
    assert demo.delete(hook.path).status_code == 204
    assert outbox.settle(database, settings, third, Outcome(None, 200)) is False
    outbox.give_back(database, third)
    assert outbox.claim(database, 30) is None


@on_both
def test_switched_off_after_days_and_on_again(service: InProcess, demo: Person, server: Receiver) -> None:
    server.reply = lambda number: Reply(500) if number <= 2 else Reply()
    hook = Hook(demo, server.url)
    with delivering(service, retry_seconds=[3600]):
        first = hook.test()
        wait_until(lambda: hook.record(first)["log"])
        assert hook.view()["enabled"] is True
        with service.wiring.database.write() as session:
            longest = service.settings.webhook.disable_after_seconds
            session.execute(update(Webhook).values(failing_since=database_now(-longest - 1)))
        second = hook.test()
        wait_until(lambda: not hook.view()["enabled"])
        assert "nothing has got through for days" in hook.view()["notice"]
        with service.wiring.database.write() as session:
            session.execute(update(WebhookDelivery).values(next_at=database_now()))
        assert outbox.claim(service.wiring.database, 30) is None
        assert len(server.got) == 2
        hook.change(enabled=True)
        for delivery in (first, second):
            hook.ended(delivery, "delivered")
    assert (hook.view()["notice"], hook.view()["failing_since"]) == (None, None)


def test_a_receiver_that_is_gone(service: InProcess, demo: Person, server: Receiver) -> None:
    server.reply = lambda _: Reply(410)
    hook = Hook(demo, server.url)
    hook.test()
    with delivering(service):
        wait_until(lambda: not hook.view()["enabled"])
    assert "410 Gone" in hook.view()["notice"]
    assert len(server.got) == 1


def test_what_is_under_way_when_a_worker_stops_is_given_back(
    service: InProcess, demo: Person, server: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.deliver.STOP_SECONDS", 0.1)
    server.release.clear()
    hook = Hook(demo, server.url)
    delivery = hook.test()
    with delivering(service):
        wait_until(lambda: server.got)
    with service.wiring.database.read() as session:
        row = session.scalars(select(WebhookDelivery).where(WebhookDelivery.id == UUID(delivery))).one()
    assert (row.status, row.lease_until, row.tries, row.attempt) == ("pending", None, 0, 1)
    server.release.set()
    with delivering(service):
        hook.ended(delivery, "delivered")


@on_both
def test_old_deliveries_are_forgotten(service: InProcess, demo: Person, server: Receiver) -> None:
    hook = Hook(demo, server.url)
    with delivering(service):
        old = hook.test()
        hook.ended(old, "delivered")
        new = hook.test()
        hook.ended(new, "delivered")
    with service.wiring.database.write() as session:
        age = database_now(-service.settings.webhook.keep_days * 86_400 - 60)
        session.execute(update(WebhookDelivery).where(WebhookDelivery.id == UUID(old)).values(created_at=age))
    Tidy(service.wiring).run()
    assert [row["id"] for row in demo.get(f"{hook.path}/deliveries").json()] == [new]
    with service.wiring.database.read() as session:
        assert list(session.scalars(select(WebhookAttempt.delivery_id))) == [UUID(new)]
