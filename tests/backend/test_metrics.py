"""Figures for Prometheus: right, and nobody's in particular."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from backend.clock import database_now
from backend.metric import service as metric
from backend.models import Account, Task
from backend.task import lifecycle
from backend.worker import service as workers
from tests.servers import free_port, on_both
from tests.service import InProcess, MakeService, Person

pytestmark = on_both


def figures(service: InProcess) -> dict[str, float]:
    answer = service.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def of_rows(service: InProcess) -> dict[str, float]:
    return {name: value for name, value in figures(service).items() if not name.startswith("vr_http_")}


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read each time they are asked for, all but what takes long."""
    monkeypatch.setattr(metric, "FRESH_SECONDS", 0)


def test_what_there_is(service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of_rows(service)
    assert before.pop("vr_ledger_checked_timestamp_seconds") > 1.7e9
    assert before.pop("vr_workers_expected") == 1
    assert {before.pop(f"vr_up {what}") for what in ("database", "broker", "storage")} == {1}
    assert set(before.values()) == {0}
    done = demo.submit(demo.upload(warmup))
    demo.post("/webhooks", {"url": "https://example.com/hook"})
    assert service.work()
    demo.submit(demo.upload(warmup))
    with service.wiring.database.write() as session:
        workers.heartbeat(session, "one@here")
    after = figures(service)
    assert after["vr_tasks queued"] == after["vr_queue_length"] == 1
    assert 0 < after["vr_queue_oldest_seconds"] < 100
    assert after["vr_workers_alive"] == 1
    assert after["vr_webhook_deliveries_pending"] == 1
    assert 0 < after["vr_webhook_oldest_due_seconds"] < 100
    assert after["vr_tasks completed"] == 0  # counted when the ledger is checked
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    assert figures(service)["vr_tasks completed"] == 1
    text = service.client.get("/metrics").text
    assert not [word for word in (done, demo.email, demo.get("/me").json()["tenant_id"]) if word in text]


def test_what_was_completed_is_counted_for_ever(service: InProcess, demo: Person, warmup: Path) -> None:
    first, second = (demo.submit(demo.upload(warmup)) for _ in range(2))
    assert service.work()
    demo.post(f"/tasks/{second}/cancel")
    told = figures(service)
    for name in ("wait_seconds", "run_seconds", "real_time_factor", "attempts"):
        assert told[f"vr_task_{name}_count lite"] == told[f"vr_task_{name}_bucket +Inf lite"] == 1
    assert told["vr_task_attempts_bucket 1.0 lite"] == told["vr_task_attempts_sum lite"] == 1
    row = service.row(first)
    assert row.finished_at and row.claimed_at
    run = (row.finished_at - row.claimed_at).total_seconds()
    assert told["vr_task_run_seconds_sum lite"] == pytest.approx(run, abs=0.001)
    assert told["vr_task_real_time_factor_sum lite"] == pytest.approx(row.seconds / run, rel=0.01)
    buckets = [value for name, value in told.items() if name.startswith("vr_task_run_seconds_bucket ")]
    assert buckets == sorted(buckets) and len(buckets) > 10
    assert demo.delete(f"/tasks/{first}").status_code == 204
    assert figures(service)["vr_task_run_seconds_count lite"] == 1


def test_what_is_wrong_is_seen(service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    lost = [demo.submit(demo.upload(warmup)) for _ in range(2)]
    claims = [lifecycle.claim(service.wiring.database, "gone@there", 30) for _ in lost]
    with service.wiring.database.write() as session:
        session.execute(update(Task).values(lease_until=database_now(-1), created_at=database_now(-1000)))
    told = figures(service)
    assert (told["vr_leases_expired"], told["vr_tasks processing"], told["vr_holds_stale_credits"]) == (2, 2, 0)
    for claim in claims:
        assert claim is not None
        lifecycle.fail(service.wiring.database, claim, "worker_lost", "lost", transient=False, max_attempts=3)
    told = figures(service)
    assert (told["vr_leases_expired"], told["vr_tasks_failed worker_lost"]) == (0, 2)
    with service.wiring.database.write() as session:  # as if the credits of one had never been given back
        session.execute(update(Account).where(Account.kind == "held").values(balance=1000))
    told = figures(service)
    assert told["vr_holds_stale_credits"] == 1
    assert told["vr_ledger_imbalances"] > 0


def test_requests_count_by_route(service: InProcess, demo: Person) -> None:
    for path in ("/tasks/01a1fe60-4587-7668-9f33-b98bd64b3597", "/tasks/01a1fe60-4587-7668-9f33-b98bd64b3598", "/me"):
        demo.get(path)
    demo.get("/nothing/here")
    service.client.request("PROPFIND", "/api/v1/me")
    told = figures(service)
    assert told["vr_http_request_seconds_count GET /api/v1/tasks/{task_id} 404"] == 2
    assert told["vr_http_request_seconds_count GET /api/v1/me 200"] == 1
    assert told["vr_http_request_seconds_count GET none 404"] == 1
    assert told["vr_http_request_seconds_count other /api/v1/me 405"] == 1
    assert told["vr_http_response_bytes_sum GET /api/v1/me"] > 50
    assert told["vr_http_in_flight"] == 1  # this one
    assert not [name for name in told if "4587" in name or "PROPFIND" in name or "nothing" in name]


def test_a_database_that_is_away_is_told(make_service: MakeService) -> None:
    service = make_service(db={"url": f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}/nowhere"})
    told = figures(service)
    assert (told["vr_up database"], told["vr_up storage"]) == (0, 1)
    assert "vr_queue_length" not in told


def test_the_ledger_is_checked_now_and_then(service: InProcess, demo: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    first = of_rows(service)
    assert first["vr_ledger_imbalances"] == 0
    with service.wiring.database.write() as session:
        session.execute(update(Account).where(Account.kind == "available").values(balance=Account.balance + 7))
    assert of_rows(service) == first  # not at every scrape
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    assert figures(service)["vr_ledger_imbalances"] == 2


def test_switched_off(make_service: MakeService) -> None:
    service = make_service(web={"metrics": False})
    assert service.client.get("/metrics").status_code == 404
