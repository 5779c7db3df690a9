"""Probes: alive, ready, and every worker by name."""

from __future__ import annotations

from sqlalchemy import update

from backend.clock import database_now
from backend.models import Worker
from backend.worker import service as workers
from cli import alive
from tests.servers import on_both
from tests.service import InProcess, MakeService

pytestmark = on_both


def test_a_service_whose_worker_beats_is_healthy(service: InProcess) -> None:
    assert service.client.get("/healthz").json() == {"ok": True}
    assert service.client.get("/readyz").json()["ok"] is True
    nobody = service.client.get("/health")
    assert nobody.status_code == 503
    assert nobody.json()["failing"] == ["1 of 1 expected workers have not reported"]
    assert int(nobody.headers["retry-after"]) > 0

    database = service.wiring.database
    with database.write() as session:
        workers.started(session, "one@here")
        workers.warmed(session, "one@here", "lite", "onnx cpu", 0.7)
    answer = service.client.get("/health")
    assert answer.status_code == 200
    assert answer.json()["workers"]["one@here"]["model"] == "lite"
    assert answer.json()["workers"]["one@here"]["warmup_seconds"] == 0.7

    with database.write() as session:
        workers.started(session, "two@here")
        session.execute(update(Worker).where(Worker.name == "one@here").values(seen_at=database_now(-60)))
    silent = service.client.get("/health")
    assert silent.status_code == 503
    assert silent.json()["failing"] == ["one@here"]
    assert silent.json()["workers"]["one@here"]["reason"] == "no heartbeat"
    assert silent.json()["workers"]["two@here"]["ok"] is True
    assert service.client.get("/readyz").status_code == 200  # accepted tasks wait; nobody is sent away

    with database.write() as session:
        workers.heartbeat(session, "two@here")
        workers.broken(session, "two@here", "model_broken: no")
        workers.stopped(session, "one@here")
    broken = service.client.get("/health").json()
    assert broken["failing"] == ["two@here"]
    assert list(broken["workers"]) == ["two@here"]


def test_fewer_workers_than_expected(make_service: MakeService) -> None:
    service = make_service(worker={"expected": 2})
    with service.wiring.database.write() as session:
        workers.started(session, "one@here")
    answer = service.client.get("/health")
    assert (answer.status_code, answer.json()["failing"]) == (503, ["1 of 2 expected workers have not reported"])


def test_a_worker_that_was_forgotten_reports_again(service: InProcess) -> None:
    """It was stopped for longer than silent workers are remembered, and goes on."""
    with service.wiring.database.write() as session:
        workers.heartbeat(session, "one@here")
    assert service.client.get("/health").status_code == 200


def test_a_worker_is_alive_while_it_beats(service: InProcess) -> None:
    """A restart would be of no use to one that could not warm up, and end what it has in hand."""
    name = workers.worker_name(service.settings)
    assert alive.worker(service.settings) == f"{name} has not reported"
    with service.wiring.database.write() as session:
        workers.started(session, name)
        workers.broken(session, name, "inference_server_unavailable: not up yet")
    assert alive.worker(service.settings) is None
    assert service.client.get("/health").json()["failing"] == [name]
    with service.wiring.database.write() as session:
        session.execute(update(Worker).values(seen_at=database_now(-60)))
    assert alive.worker(service.settings) == "no heartbeat"
