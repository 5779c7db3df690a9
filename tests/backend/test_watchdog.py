"""Tasks wait and nothing begins: noticed, with the reason; and never when there is a good reason for it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from sqlalchemy import update

from backend.clock import database_now
from backend.metric import service as metric
from backend.metric.watchdog import Watchdog
from backend.models import Task, Tenant, Worker
from backend.probe import Failing, Probe
from backend.task import lifecycle
from backend.worker import service as workers
from tests.processes import wait_until
from tests.servers import free_port, on_both
from tests.service import InProcess, MakeService, Person

Change = Callable[[InProcess], None]


def worker(service: InProcess, name: str = "one@here", *, warm: bool = True) -> None:
    with service.wiring.database.write() as session:
        workers.started(session, name)
        if warm:
            workers.warmed(session, name, "lite", "onnx cpu", 0.7)


def probe(failure: str | None = None) -> Probe:
    def check() -> None:
        if failure:
            raise Failing(failure)

    return Probe("broker", check, patience=10, fresh=0)


def why(service: InProcess, broker: str | None = None) -> str | None:
    """At the second look: the first only learns what waits."""
    watchdog = Watchdog(service.wiring, probe(broker))
    watchdog.why_nothing_begins()
    return watchdog.why_nothing_begins()


def gauge(service: InProcess) -> float:
    [line] = [each for each in service.client.get("/metrics").text.splitlines() if each.startswith("vr_queue_stalled ")]
    return float(line.split()[1])


@on_both
def test_reasons(service: InProcess, demo: Person, warmup: Path) -> None:
    assert why(service) is None
    demo.submit(demo.upload(warmup))
    assert why(service) == "no worker is alive"
    worker(service)
    assert why(service) == "idle workers take nothing, their logs should say why: one@here"
    assert why(service, "no answer") == "workers are idle, and can't be woken: broker: no answer"
    database = service.wiring.database
    with database.write() as session:
        workers.broken(session, "one@here", "weights_corrupt: no")
    assert why(service) == "no worker can work: weights_corrupt: no"
    with database.write() as session:
        session.execute(update(Worker).values(seen_at=database_now(-60)))
    assert why(service) == "no worker is alive"


@on_both
def test_a_worker_that_could_not_warm_up_and_works_is_no_alarm(service: InProcess, demo: Person, warmup: Path) -> None:
    song = demo.upload(warmup)
    for _ in range(2):
        demo.submit(song)
    database = service.wiring.database
    worker(service, warm=False)
    with database.write() as session:
        workers.broken(session, "one@here", "inference_server_unavailable: not up yet")
    watchdog = Watchdog(service.wiring, probe())
    assert watchdog.why_nothing_begins() == "no worker can work: inference_server_unavailable: not up yet"
    claim = lifecycle.claim(database, "one@here", 60)
    assert claim is not None
    for _ in range(2):
        assert watchdog.why_nothing_begins() is None, "it has a task in hand"
    lifecycle.fail(database, claim, "engine_error", "no", transient=False, max_attempts=1)
    assert watchdog.why_nothing_begins() is not None
    assert lifecycle.claim(database, "two@there", 60) is not None
    demo.submit(song)
    assert watchdog.why_nothing_begins() is None, "the queue moves"


@on_both
def test_good_reasons_are_no_alarm(make_service: MakeService, warmup: Path) -> None:
    service = make_service(tenant={"concurrent_tasks": 1})
    demo, database = service.login(), service.wiring.database
    first, _ = (demo.submit(demo.upload(warmup)) for _ in range(2))
    worker(service, warm=False)
    assert why(service) is None, "it fetches and loads its model"
    worker(service)
    claim = lifecycle.claim(database, "two@there", 600, concurrent=1)
    assert claim is not None and str(claim.task_id) == first
    assert why(service) is None, "the tenant has as many under way as it may"

    stranger = service.register("other@example.com")
    waiting = stranger.submit(stranger.upload(warmup))
    assert why(service) is not None
    with database.write() as session:
        session.execute(
            update(Task).where(Task.id == claim.task_id).values(worker="one@here", claimed_at=database_now(-9999))
        )
    assert why(service) is None, "the worker is busy, however long it takes"
    with database.write() as session:
        session.execute(update(Task).where(Task.id == claim.task_id).values(worker="two@there"))
        session.execute(
            update(Tenant).where(Tenant.id == service.row(waiting).tenant_id).values(suspended_at=database_now())
        )
    assert why(service) is None, "the only tenant that could have a task begun is suspended"


def test_a_queue_that_moves_is_no_alarm(service: InProcess, demo: Person, warmup: Path) -> None:
    """Workers may be between two tasks whenever somebody looks."""
    song = demo.upload(warmup)
    for _ in range(3):
        demo.submit(song)
    worker(service)
    watchdog = Watchdog(service.wiring, probe())
    watchdog.why_nothing_begins()
    for _ in range(2):
        claim = lifecycle.claim(service.wiring.database, "one@here", 60)
        assert claim is not None
        lifecycle.fail(service.wiring.database, claim, "engine_error", "no", transient=False, max_attempts=1)
        assert watchdog.why_nothing_begins() is None
    assert watchdog.why_nothing_begins() is not None


def test_it_is_told_everywhere_and_ends(
    make_service: MakeService, warmup: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metric, "FRESH_SECONDS", 0)
    service = make_service(
        observe={"stalled_seconds": 2},
        worker={"heartbeat_seconds": 3600},  # nobody beats for the row that stands for it
        queue={"url": f"redis://127.0.0.1:{free_port()}/0"},
    )
    demo = service.login()
    assert gauge(service) == 0
    worker(service)
    demo.submit(demo.upload(warmup))

    def health() -> httpx.Response:
        return service.client.get("/health")

    wait_until(lambda: health().status_code == 503)
    [failing] = health().json()["failing"]
    assert failing.startswith("queue: tasks wait and none starts: workers are idle, and can't be woken: broker: ")
    assert gauge(service) == 1
    told = [record for record in caplog.records if record.name.endswith("watchdog") and record.levelno == logging.ERROR]
    assert len(told) == 1
    assert service.work()
    wait_until(lambda: health().status_code == 200)
    assert gauge(service) == 0
    assert "the queue moves again" in caplog.text
