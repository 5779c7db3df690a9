"""`/readyz` with what the API needs taken away, really: it is answered in time, and says what is missing."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from backend import health
from backend.probe import Probe
from tests.processes import wait_until
from tests.servers import own_redis
from tests.service import InProcess, MakeService

IN_TIME = 30.0
"""Far less than a client of a broker or database waits for one that is silent; far more than it should take."""


def ready(service: InProcess) -> httpx.Response:
    began = time.monotonic()
    answer = service.client.get("/readyz")
    assert time.monotonic() - began < IN_TIME
    return answer


@contextmanager
def silent_server() -> Iterator[int]:
    """It takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_without_its_broker_it_is_degraded(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0)
    with own_redis() as (url, redis):
        service = make_service(queue={"url": url})
        assert ready(service).json() == {"ok": True, "status": "healthy", "failing": [], "workers": {}}
        redis.send_signal(signal.SIGSTOP)  # it hangs
        try:
            wait_until(lambda: ready(service).json()["failing"] == ["broker: no answer within 1 s"])
        finally:
            redis.send_signal(signal.SIGCONT)
        wait_until(lambda: ready(service).json()["status"] == "healthy")
        redis.kill()
        redis.wait()
        wait_until(lambda: ready(service).json()["status"] == "degraded")
        answer = ready(service)
        assert (answer.status_code, answer.json()["ok"]) == (200, True)
        assert [told.partition(":")[0] for told in answer.json()["failing"]] == ["broker"]
        # And it serves: an order waits until there is a broker again, or a worker that looks by itself.
        assert service.login().post("/separate", {"filename": "warmup.mp3"}).status_code == 202


def test_without_its_storage_it_is_degraded(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ready(service).json()["status"] == "healthy"
    (service.settings.data_dir / "incoming").rename(service.settings.data_dir / "gone")
    (service.settings.data_dir / "incoming").write_text("no folder any more")
    wait_until(lambda: ready(service).json()["status"] == "degraded")
    assert ready(service).status_code == 200
    assert [told.partition(":")[0] for told in ready(service).json()["failing"]] == ["storage"]


def test_a_database_that_hangs(make_service: MakeService) -> None:
    with silent_server() as port:
        service = make_service(db={"url": f"postgresql+psycopg://postgres@127.0.0.1:{port}/nowhere"})
        answer = ready(service)
        assert answer.status_code == 503
        assert answer.json()["failing"] == ["database: no answer within 3 s"]
        assert int(answer.headers["retry-after"]) > 0


def test_one_question_at_a_time() -> None:
    """Probes are open to everybody: whoever asks often must not make many threads wait."""
    release, asked = threading.Event(), []

    def check() -> None:
        asked.append(1)
        release.wait(100)

    probe = Probe("thing", check, patience=0.1, fresh=1000)
    assert {probe.failure() for _ in range(50)} == {"thing: no answer within 0.1 s"}
    assert len(asked) == 1
    release.set()
    wait_until(lambda: probe.failure() is None)
    assert len(asked) == 1
