from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from engine.registry import Registry
from tests.client.faulty_way import FaultyWay, faulty_way
from tests.service import InProcess, Person
from vocal_remover import Client, Patience

HASTY = Patience(attempts=4, first_wait=0.01, longest_wait=5, silence=0.5, poll=0.05)
"""As patient as a test."""


_warm: list[Registry] = []


def warm(service: InProcess) -> InProcess:
    """With the model that an earlier test loaded: loading it takes longer than most of them."""
    if _warm:
        service.room._registry = _warm[0]
    else:
        _warm.append(service.room._registry)
    return service


@contextmanager
def worker_of(service: InProcess) -> Iterator[None]:
    """Somebody who does every task as it comes."""
    warm(service)
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            if not service.work():
                over.wait(0.05)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def way(service: InProcess) -> Iterator[FaultyWay]:
    """To the service, with faults."""
    with faulty_way(service.url) as made:
        yield made


@pytest.fixture
def working(service: InProcess) -> Iterator[None]:
    with worker_of(service):
        yield


@pytest.fixture
def client(way: FaultyWay, demo: Person) -> Iterator[Client]:
    """Of the demo user, over the faulty way."""
    with Client(way.url, demo.token, patience=HASTY) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("URL", "KEY", "EMAIL", "PASSWORD"):
        monkeypatch.delenv(f"VOCAL_REMOVER_{name}", raising=False)
