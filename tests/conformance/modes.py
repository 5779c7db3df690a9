"""The modes: databases, brokers and storages, by settings alone."""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from amqp.exceptions import AMQPError
from kombu import Connection

from tests.rabbitmq import RabbitServer
from tests.s3.fixtures import environment

URLS = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}
LOCAL_RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


@dataclass(frozen=True)
class Mode:
    database: str
    broker: str
    storage: str

    def __str__(self) -> str:
        return f"{self.database}-{self.broker}-{self.storage}"


EMBEDDED = Mode("sqlite", "files", "folder")
SINGLE_HOST = Mode("postgresql", "redis", "folder")
CLUSTER = Mode("postgresql", "rabbitmq", "s3")


def chosen() -> list[Mode]:
    """Each server at least once; VR_TEST_MODES=all is every combination."""
    if os.environ.get("VR_TEST_MODES") == "all":
        kinds = ("sqlite", "postgresql"), ("files", "redis", "rabbitmq"), ("folder", "s3")
        return [Mode(*each) for each in itertools.product(*kinds)]
    return [EMBEDDED, SINGLE_HOST, CLUSTER]


@contextmanager
def settings(mode: Mode, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Of processes that run in this mode, on a database, a queue and a bucket of their own."""
    with ExitStack() as stack:
        found = {"VR_QUEUE__NAME": f"test-{uuid.uuid4().hex[:12]}"}
        found["VR_DB__URL"] = request.getfixturevalue(URLS[mode.database])
        if mode.broker == "redis":
            found["VR_QUEUE__URL"] = request.getfixturevalue("redis_url")
        elif mode.broker == "rabbitmq":
            found["VR_QUEUE__URL"] = stack.enter_context(rabbitmq())
            stack.callback(delete_queue, found["VR_QUEUE__URL"], found["VR_QUEUE__NAME"])
        if mode.storage == "s3":
            s3: dict[str, Any] = request.getfixturevalue("s3_settings")
            found |= environment(s3)
        yield found


@contextmanager
def rabbitmq() -> Iterator[str]:
    """Address of a server: that of VR_TEST_RABBITMQ, this machine's, or one of the test's own."""
    url = os.environ.get("VR_TEST_RABBITMQ", LOCAL_RABBITMQ)
    with Connection(url, connect_timeout=3) as connection:
        try:
            connection.connect()
        except (OSError, AMQPError):
            if "VR_TEST_RABBITMQ" in os.environ:
                pytest.fail(f"VR_TEST_RABBITMQ does not answer: {url}")
            found = False
        else:
            found = True
    if found:
        yield url
    else:
        with RabbitServer() as server:
            yield server.url


def delete_queue(url: str, name: str) -> None:
    """From RabbitMQ, with the exchange of its name."""
    with Connection(url) as connection:
        channel: Any = connection.default_channel
        channel.queue_delete(name)
        channel.exchange_delete(name)
