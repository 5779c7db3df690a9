"""Figures for Prometheus: right, and nobody's in particular."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from backend.metric import service as metric
from backend.models import Account
from backend.worker import service as workers
from tests.service import InProcess, MakeService, Person


def figures(service: InProcess) -> dict[str, float]:
    answer = service.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_what_there_is(service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(service)
    assert before.pop("vr_ledger_checked_timestamp_seconds") > 1.7e9
    assert set(before.values()) == {0}
    done = demo.submit(demo.upload(warmup))
    demo.post("/webhooks", {"url": "https://example.com/hook"})
    assert service.work()
    demo.submit(demo.upload(warmup))
    with service.wiring.database.write() as session:
        workers.heartbeat(session, "one@here")
    after = figures(service)
    assert after["vr_tasks queued"] == after["vr_queue_length"] == 1
    assert after["vr_workers_alive"] == 1
    assert after["vr_webhook_deliveries_pending"] == 1
    assert after["vr_tasks completed"] == 0  # counted when the ledger is checked
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    assert figures(service)["vr_tasks completed"] == 1
    text = service.client.get("/metrics").text
    assert not [word for word in (done, demo.email, demo.get("/me").json()["tenant_id"]) if word in text]


def test_the_ledger_is_checked_now_and_then(service: InProcess, demo: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    first = figures(service)
    assert first["vr_ledger_imbalances"] == 0
    with service.wiring.database.write() as session:
        session.execute(update(Account).where(Account.kind == "available").values(balance=Account.balance + 7))
    assert figures(service) == first  # not at every scrape
    monkeypatch.setattr(metric, "CHECK_SECONDS", 0)
    assert figures(service)["vr_ledger_imbalances"] == 2


def test_switched_off(make_service: MakeService) -> None:
    service = make_service(web={"metrics": False})
    assert service.client.get("/metrics").status_code == 404
