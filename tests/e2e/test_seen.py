"""One task's way through API and worker, as it is seen from outside: in a trace, and in the logs of both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Cluster, wait_until
from tests.traces import Collector, collecting


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture
def cluster(tmp_path: Path, collector: Collector) -> Iterator[Cluster]:
    settings = {"VR_LOG_FORMAT": "json", "VR_OBSERVE__TRACES_URL": collector.url}
    with Cluster(tmp_path, **settings) as running:
        yield running


def lines(log: str) -> list[dict[str, Any]]:
    """Every line is an object: nothing is printed past the format."""
    found = [json.loads(line) for line in log.splitlines()]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in found)
    return found


def test_one_task_from_request_to_stem(cluster: Cluster, collector: Collector, warmup: Path) -> None:
    demo = cluster.login()
    upload = demo.upload(warmup)
    answer = demo.post("/separate", {"upload_id": upload}, headers={"X-Request-ID": "the-order"})
    task_id = answer.json()["task_id"]
    assert cluster.finished(demo, task_id)["status"] == "completed"
    broken = demo.submit(demo.upload(warmup))
    demo.post(f"/tasks/{broken}/cancel")
    tenant, user = demo.get("/me").json()["tenant_id"], demo.get("/me").json()["id"]

    # The trace: one, from the request in one process to the stems in another.
    wait_until(lambda: any(span.name == "task" and span.facts["vr.task"] == task_id for span in collector.spans))
    wait_until(lambda: any(span.facts.get("vr.request_id") == "the-order" for span in collector.spans))
    order = next(span for span in collector.spans if span.facts.get("vr.request_id") == "the-order")
    trace = collector.of_trace(order.trace)
    assert order.name == "/api/v1/separate"
    assert (order.parent, order.facts["http.response.status_code"]) == ("", 202)
    work = trace["task"]
    assert work.parent == order.id
    assert work.facts["vr.task"] == task_id
    assert work.facts["vr.attempt"] == 1
    steps = {name: span for name, span in trace.items() if span.parent == work.id}
    assert steps.keys() >= {"claim", "fetch", "decode", "spectra", "network", "inverse", "write", "store", "commit"}
    for span in steps.values():
        assert work.began <= span.began <= span.ended <= work.ended + 1_000_000
    assert steps["claim"].ended <= steps["network"].began
    assert steps["network"].ended <= steps["commit"].began
    for name in ("decode", "network", "write"):
        extent = (steps[name].ended - steps[name].began) / 1e9
        assert 0 < steps[name].facts["vr.busy_seconds"] <= extent + 0.001

    # The logs: by the task's id through both, with whose it is, which request and which trace.
    api, worker = (lines(cluster.processes[name].text()) for name in ("api", "worker"))
    [ordered] = [line for line in api if line.get("request_id") == "the-order" and line.get("route")]
    assert (ordered["route"], ordered["status"]) == ("/api/v1/separate", 202)
    assert (ordered["tenant"], ordered["user"], ordered["trace"]) == (tenant, user, order.trace)
    assert ordered["ms"] > 0
    [told] = [line for line in api if line.get("task") == task_id and line["request_id"] == "the-order"]
    assert told["message"].startswith("task ordered")
    done = [line for line in worker if line.get("task") == task_id]
    assert "completed" in done[-1]["message"]
    for line in done:
        assert (line["tenant"], line["attempt"], line["trace"]) == (tenant, 1, order.trace)
        assert line["worker"].startswith("worker@")
    assert any(line["logger"].startswith("celery") for line in worker)
    assert any(line["logger"].startswith("uvicorn") for line in api)
    assert not [line for line in api if line.get("route") in ("/healthz", "/health", "/readyz")]
    assert demo.email not in cluster.processes["api"].text() + cluster.processes["worker"].text()
