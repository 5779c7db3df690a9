"""Traces: whose they are, what is in them, and that they cost nothing where there are none."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.settings import ROOT
from backend.settings.observe import Observe
from tests.processes import wait_until
from tests.servers import free_port
from tests.service import InProcess, MakeService
from tests.traces import Collector, Told, collecting
from workers.room import EngineRoom

THEIRS = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{THEIRS}-b7ad6b7169203331-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


def ordered(service: InProcess, collector: Collector, traceparent: str = TRACEPARENT) -> tuple[Told, str | None]:
    """(the span of an order that came with a traceparent, what was kept of it with the task)."""
    demo = service.login()
    sent = {"traceparent": traceparent, "X-Request-ID": "the-order"}
    answer = demo.post("/separate", {"filename": "warmup.mp3"}, headers=sent)
    assert answer.status_code == 202

    def found() -> list[Told]:
        return [span for span in collector.spans if span.facts.get("vr.request_id") == "the-order"]

    wait_until(found)
    return found()[0], service.row(answer.json()["task_id"]).traceparent


def kept_without_traces(service: InProcess, *traceparents: str) -> str | None:
    """What is kept with a task that is ordered with these headers."""
    sent = [("Authorization", f"Bearer {service.login().token}"), *(("traceparent", each) for each in traceparents)]
    answer = service.client.post("/api/v1/separate", json={"filename": "warmup.mp3"}, headers=sent)
    assert answer.status_code == 202
    return service.row(answer.json()["task_id"]).traceparent


def sampled(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & 1)


def test_a_stranger_s_trace_is_linked(make_service: MakeService, collector: Collector) -> None:
    span, kept = ordered(make_service(observe={"traces_url": collector.url}), collector)
    assert span.trace != THEIRS
    assert (span.parent, span.links) == ("", [THEIRS])
    assert kept is not None and kept.startswith(f"00-{span.trace}-{span.id}-")
    assert sampled(kept)


def test_a_proxy_s_trace_is_continued_where_it_is_trusted(make_service: MakeService, collector: Collector) -> None:
    service = make_service(observe={"traces_url": collector.url, "traces_continue": True})
    span, kept = ordered(service, collector)
    assert (span.trace, span.parent, span.links) == (THEIRS, "b7ad6b7169203331", [])
    assert kept is not None and kept.startswith(f"00-{THEIRS}-{span.id}-")


def test_nonsense_is_no_trace(make_service: MakeService, collector: Collector) -> None:
    service = make_service(observe={"traces_url": collector.url, "traces_continue": True})
    span, _ = ordered(service, collector, "00-zz-' OR 1=1")
    assert (span.parent, span.links) == ("", [])


def test_a_caller_s_trace_reaches_a_worker_that_sends_traces_where_the_api_sends_none(
    make_service: MakeService, collector: Collector, warmup: Path
) -> None:
    service = make_service()
    demo = service.login()
    body = {"upload_id": demo.upload(warmup)}
    task_id = demo.post("/separate", body, headers={"traceparent": TRACEPARENT}).json()["task_id"]
    assert service.row(task_id).traceparent == TRACEPARENT
    service.room = EngineRoom(service.settings.model_copy(update={"observe": Observe(traces_url=collector.url)}))
    assert service.work()
    service.room.wiring.tracing.stop()
    span = collector.of_trace(THEIRS)["task"]
    assert (span.parent, span.facts["vr.task"]) == ("b7ad6b7169203331", task_id)


def test_of_a_later_version_the_part_that_we_know_is_kept(make_service: MakeService) -> None:
    assert kept_without_traces(make_service(), f"cc-{TRACEPARENT[3:]}-what-comes") == TRACEPARENT


def test_no_nonsense_is_kept(make_service: MakeService) -> None:
    service = make_service(credit={"price": 0})
    for nonsense in (
        "",
        "00-zz-' OR 1=1",
        TRACEPARENT.upper(),
        TRACEPARENT[:-1],
        f"{TRACEPARENT}0",
        f"{TRACEPARENT}-01",  # only a later version may go on
        f"ff-{TRACEPARENT[3:]}",
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-{THEIRS}-{'0' * 16}-01",
    ):
        assert kept_without_traces(service, nonsense) is None, nonsense
    assert kept_without_traces(service, TRACEPARENT, TRACEPARENT) is None
    assert kept_without_traces(service) is None


def test_a_share_of_none(make_service: MakeService, collector: Collector, warmup: Path) -> None:
    """Nor has a worker's share of it anything to tell then."""
    service = make_service(observe={"traces_url": collector.url, "traces_share": 0})
    demo = service.login()
    task_id = demo.submit(demo.upload(warmup))
    assert service.work()
    kept = service.row(task_id).traceparent
    assert kept is not None and not sampled(kept)
    service.room.wiring.tracing.stop()
    service.wiring.tracing.stop()
    assert collector.spans == []


def test_what_fails_is_told_without_its_words(
    make_service: MakeService, collector: Collector, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(observe={"traces_url": collector.url})
    demo = service.login()
    task_id = demo.submit(demo.upload(warmup))

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("workers.separate.separate", broken)
    assert service.work()
    monkeypatch.setattr("backend.credit.service.balance", broken)
    assert demo.get("/me").status_code == 500
    service.room.wiring.tracing.stop()
    wait_until(lambda: {"task", "/api/v1/me"} == {span.name for span in collector.spans if span.failed})
    [failed] = [span for span in collector.spans if span.name == "task"]
    assert failed.facts["vr.task"] == task_id
    assert b"hunter" not in collector.raw


def test_a_collector_that_is_away_holds_nobody_up(make_service: MakeService) -> None:
    service = make_service(observe={"traces_url": f"http://127.0.0.1:{free_port()}/v1/traces"})
    demo = service.login()
    assert demo.get("/me").status_code == 200
    began = time.monotonic()
    service.wiring.tracing.stop()
    assert time.monotonic() - began < 30
    assert demo.get("/me").status_code == 200


def test_without_traces_nothing_of_them_is_loaded() -> None:
    """FastAPI itself loads OpenTelemetry's interfaces, but neither what records nor what sends."""
    program = (
        "import sys; sys.path.insert(0, ''); import backend.app, workers.app; "
        "print(*(name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))))"
    )
    told = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == ""
