"""Bells, whatever broker carries them: bounded, apart from other installations', and heard again after a restart."""

from __future__ import annotations

import re
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection

from backend.queue import MOST_WAITING, Bell
from backend.settings import Settings
from tests.conformance.modes import delete_queue, rabbitmq
from tests.processes import Cluster, wait_until
from tests.rabbitmq import RabbitServer
from tests.servers import own_redis

BROKERS = ["files", "redis", "rabbitmq"]
AT_ONCE_SECONDS = 5.0
"""Half of what a client of Redis waits for one that hangs."""


@contextmanager
def address(broker: str, request: pytest.FixtureRequest) -> Iterator[str]:
    if broker == "rabbitmq":
        with rabbitmq() as url:
            yield url
    else:
        yield request.getfixturevalue("redis_url") if broker == "redis" else ""


def waiting(settings: Settings) -> int:
    """Rings that nobody has heard."""
    url, name = settings.queue.url, settings.queue.name
    if not url:
        return len(list((settings.data_dir / "queue" / "messages").glob(f"*.{name}.msg")))
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            return int(client.llen(name))
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        return int(channel.queue_declare(name, passive=True).message_count)


@pytest.mark.parametrize("broker", BROKERS)
def test_rings_that_nobody_hears_don_t_pile_up(broker: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with address(broker, request) as url:
        mine, others = (_settings(tmp_path, url) for _ in range(2))
        bells = [Bell(each) for each in (mine, others)]
        try:
            for _ in range(2):
                for _ in range(MOST_WAITING):
                    bells[0].ring()
                rung()
            bells[1].ring()
            rung()
            # Across a connection of its own RabbitMQ tells a number that is a moment old.
            wait_until(lambda: (waiting(mine), waiting(others)) == (MOST_WAITING, 1), 20)
        finally:
            if broker == "rabbitmq":
                for each in (mine, others):
                    delete_queue(url, each.queue.name)


def test_no_order_waits_for_a_broker_that_hangs(tmp_path: Path, warmup: Path) -> None:
    with own_redis() as (url, server), Cluster(tmp_path, VR_QUEUE__URL=url) as cluster:
        person = cluster.login()
        upload_id = person.send(warmup).json()["id"]
        assert cluster.finished(person, person.submit(upload_id))["status"] == "completed"  # it is connected now
        server.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            task_id = person.submit(upload_id)
            took = time.monotonic() - began
            # Its client gives up by itself, and says so.
            wait_until(lambda: "the broker can't be reached" in cluster.processes["api"].text())
        finally:
            server.send_signal(signal.SIGCONT)
        assert took < AT_ONCE_SECONDS
        assert cluster.finished(person, task_id)["status"] == "completed"


@pytest.mark.timeout(600)
def test_rabbitmq_keeps_one_quorum_queue_and_is_found_again(tmp_path: Path, warmup: Path) -> None:
    """A worker declares one queue, and hears bells again after the broker's restart."""
    with RabbitServer() as server:
        name = "bells"
        with Cluster(tmp_path, VR_QUEUE__URL=server.url, VR_QUEUE__NAME=name) as cluster:

            def seen(words: str) -> int:
                return cluster.processes["worker"].text().count(words)

            person = cluster.login()
            upload_id = person.send(warmup).json()["id"]
            assert cluster.finished(person, person.submit(upload_id, model="lite"))["status"] == "completed"
            assert server.queues() == {name: "quorum"}
            server.stop()
            lost = person.submit(upload_id, model="lite")
            server.start()
            wait_until(lambda: seen("Connected to amqp") > 1)
            heard = seen("Task separate[")
            later = person.submit(upload_id, model="lite")
            for task_id in (lost, later):
                assert cluster.finished(person, task_id)["status"] == "completed"
            wait_until(lambda: seen("Task separate[") > heard)
            said = cluster.processes["worker"].text()
            assert set(re.findall(r"\w+Warning:", said)) <= {"SecurityWarning:"}, said  # that of tests run by root
            assert "deprecat" not in said.lower()
            assert server.queues() == {name: "quorum"}


def rung() -> None:
    """Wait for the bells' threads."""
    wait_until(lambda: all(thread.name != "bell" for thread in threading.enumerate()))


def _settings(folder: Path, url: str) -> Settings:
    values: dict[str, Any] = {"data_dir": folder, "queue": {"url": url, "name": f"test-{uuid.uuid4().hex[:12]}"}}
    return Settings(_env_file=None, **values)
