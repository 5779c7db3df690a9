"""A worker's main process while its storage hangs: it lives, and rescues what others left."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery.utils.timer2 import Timer
from sqlalchemy import select

from backend.models import Worker
from backend.storage import Storage, StorageAway
from backend.worker.service import worker_name
from tests.processes import wait_until
from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person
from tests.workers.test_life_of_a_task import claim, expire
from workers import app
from workers.sweep import Sweep
from workers.tidy import Tidy


@pytest.fixture
def service(make_service: MakeService, own_s3_server: S3Server) -> InProcess:
    storage = own_s3_server.settings() | {"attempts": 1, "timeout_seconds": 60}
    return make_service(
        storage=storage,
        worker={"heartbeat_seconds": 0.1, "sweep_seconds": 0.1, "max_attempts": 1},
        webhook={"parallel": 0},
    )


@pytest.fixture
def timer() -> Iterator[Timer]:
    """As Celery's worker has it: one thread for everything that is to be done again and again."""
    timer = Timer()
    yield timer
    timer.stop()


def beat(service: InProcess) -> datetime:
    with service.wiring.database.read() as session:
        return session.scalars(select(Worker.seen_at)).one()


def test_a_storage_that_hangs_delays_neither_heartbeat_nor_rescue(
    service: InProcess,
    demo: Person,
    own_s3_server: S3Server,
    warmup: Path,
    timer: Timer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "settings", service.settings)
    upload_id = demo.upload(warmup)
    lost, lost_later = demo.submit(upload_id), demo.submit(upload_id)
    assert claim(service) and claim(service)
    worker = SimpleNamespace(timer=timer, concurrency=1)
    own_s3_server.send(signal.SIGSTOP)
    Sweep(service.wiring, worker_name(service.settings)).start()
    keeper = app.Keeper(worker)
    keeper.start(worker)
    try:
        for task_id in (lost, lost_later):
            expire(service, task_id)
            wait_until(lambda task_id=task_id: service.row(task_id).status == "failed", 10)  # type: ignore[misc]
            heard = beat(service)
            wait_until(lambda heard=heard: beat(service) > heard, 10)  # type: ignore[misc]
    finally:
        began = time.monotonic()
        keeper.stop(worker)
        assert time.monotonic() - began < 10
        own_s3_server.send(signal.SIGCONT)


def test_what_fails_holds_nothing_else_up(
    service: InProcess, demo: Person, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that won't list what was never ended, for one."""
    storage: Storage = service.wiring.storage
    listed: list[str] = []

    def refuse() -> None:
        raise StorageAway

    def look(prefix: str) -> Iterator[object]:
        listed.append(prefix)
        return iter(())

    monkeypatch.setattr(storage, "remove_abandoned", refuse)
    monkeypatch.setattr(storage, "listed", look)
    assert Tidy(service.wiring).run() is False
    assert "leaving" in listed and "given up: StorageAway" in caplog.text


def test_it_ends_when_it_is_told_to(service: InProcess) -> None:
    tidy = Tidy(service.wiring)
    tidy.start()
    tidy.stop()
    tidy._thread.join(60)
    assert not tidy._thread.is_alive()
