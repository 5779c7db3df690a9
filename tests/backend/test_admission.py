"""Many songs at once: few are counted at a time, who finds no place is told when to come again, reads go on."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from backend.identity import new_id
from backend.upload import receive
from backend.upload.admission import LONGEST_WAIT_SECONDS, Admission, UploadsBusy
from tests.processes import wait_until
from tests.service import InProcess, MakeService, Person


def test_places_are_bounded_and_come_back() -> None:
    admission, tenants = Admission(places=8), [new_id() for _ in range(5)]
    with ExitStack() as arriving:
        for tenant in tenants[:4]:
            for _ in range(2):
                arriving.enter_context(admission.place(tenant))
        with pytest.raises(UploadsBusy) as refused, admission.place(tenants[4]):
            pass
        assert 1 <= int(refused.value.headers["Retry-After"]) <= LONGEST_WAIT_SECONDS
    with admission.place(tenants[4]), admission.place(tenants[4]):
        pass


def test_a_tenant_has_a_quarter_of_the_places() -> None:
    admission, greedy = Admission(places=8), new_id()
    with admission.place(greedy), admission.place(greedy):
        with pytest.raises(UploadsBusy), admission.place(greedy):
            pass
        with admission.place(new_id()):
            pass


def test_few_are_counted_at_once_and_the_wait_is_foretold() -> None:
    lock = threading.Lock()
    now = most = 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    async def main() -> list[int]:
        admission = Admission(places=100, counted_at_once=2)
        told = [admission.wait_seconds()]
        waiting = [asyncio.create_task(admission.count(work)) for _ in range(30)]
        await asyncio.sleep(0)
        told.append(admission.wait_seconds())
        await asyncio.gather(*waiting)
        return [*told, admission.wait_seconds()]

    before, meanwhile, after = asyncio.run(main())
    assert most == 2
    assert meanwhile > before >= after


def test_one_that_fails_gives_its_turn_back() -> None:
    async def main() -> str:
        admission = Admission(places=4, counted_at_once=1)
        with pytest.raises(ZeroDivisionError):
            await admission.count(lambda: str(1 // 0))
        return await asyncio.wait_for(admission.count(lambda: "counted"), 60)

    assert asyncio.run(main()) == "counted"


@contextmanager
def arriving(service: InProcess, person: Person, length: int = 1_000_000) -> Iterator[socket.socket]:
    """A song of which the first bytes have come."""
    host, port = service.url.removeprefix("http://").split(":")
    head = (
        f"POST /api/v1/uploads HTTP/1.1\r\nHost: {host}\r\nAuthorization: {person.headers['Authorization']}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
        '--b\r\nContent-Disposition: form-data; name="file"; filename="slow.mp3"\r\n\r\nID3'
    )
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(head.encode())
        yield connection


def test_who_finds_no_place_is_told_when_to_come_again(make_service: MakeService, warmup: Path) -> None:
    service = make_service(upload={"at_once": 4})
    slow, other = service.login(), service.register("other@example.com")
    with arriving(service, slow):
        wait_until(lambda: service.files("incoming"))
        refused = slow.send(warmup)
        assert (refused.status_code, refused.json()["code"]) == (503, "uploads_busy")
        assert int(refused.headers["Retry-After"]) >= 1
        assert other.send(warmup).status_code == 201
    wait_until(lambda: not service.files("incoming"))
    assert slow.send(warmup).status_code == 201


def test_a_sender_that_falls_silent_loses_its_place(service: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "SILENCE_SECONDS", 0.2)
    with arriving(service, service.login()) as connection:
        answer = connection.recv(65_536).decode()
    assert answer.startswith("HTTP/1.1 408 "), answer
    assert "upload_stalled" in answer
    wait_until(lambda: not service.files("incoming"))


def test_reads_go_on_while_a_crowd_sends(service: InProcess, demo: Person, warmup: Path) -> None:
    """More songs than there are threads, each held up while it is counted: who reads doesn't wait for them."""
    let_go, counted = threading.Event(), service.wiring.storage.adopt

    def adopt(*args: object) -> None:
        let_go.wait(60)
        counted(*args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(45) as crowd:
        patch.setattr(service.wiring.storage, "adopt", adopt)
        people = [service.register(f"crowd-{number}@example.com") for number in range(45)]
        sent = [crowd.submit(person.send, warmup) for person in people]
        try:
            wait_until(lambda: len([file for file in service.files("incoming") if file.endswith("source")]) == 45)
            assert demo.get("/me", timeout=30).status_code == 200
        finally:
            let_go.set()
        answers: list[httpx.Response] = [each.result() for each in sent]
    assert [answer.status_code for answer in answers] == [201] * 45
