"""A worker whose storage refuses one file, fails with it or hangs with it: other tasks have their turn."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend import removal
from backend.settings import ROOT
from backend.task import lifecycle
from engine.errors import SeparationCancelled
from tests.client.faulty_way import Fault, FaultyWay, _Handler, cut_answer, faulty_way, refuse
from tests.s3.fixtures import S3Server, environment
from tests.service import InProcess, MakeService
from tests.workers.test_life_of_a_task import claim, kinds, wait_for
from workers import separate
from workers.hearing import heard

FOR_EVER = 99
HANGS_SECONDS = 600.0
"""Far longer than any test waits."""


@pytest.fixture
def way(s3_server: S3Server) -> Iterator[FaultyWay]:
    with faulty_way(s3_server.url, keeps_host=True) as way:
        yield way


@pytest.fixture
def behind(
    make_service: MakeService, s3_settings: dict[str, Any], way: FaultyWay, monkeypatch: pytest.MonkeyPatch
) -> InProcess:
    """The service whose storage is at the end of that way, and may hang as long as it likes."""
    monkeypatch.setattr(separate, "STORAGE_SECONDS", 0.0)
    monkeypatch.setattr(separate, "FILE_SECONDS", 0.0)
    storage = s3_settings | {"endpoint": way.url, "attempts": 1, "timeout_seconds": HANGS_SECONDS}
    return make_service(storage=storage, worker={"shared_seconds": 1})


@pytest.mark.parametrize("request_line", ["HEAD .*{song}", "GET .*{song}", "PUT .*{task}"])
def test_a_file_that_is_refused_fails_its_task_and_no_other(
    behind: InProcess, way: FaultyWay, warmup: Path, request_line: str
) -> None:
    """Forbidden, archived, or its place locked: the tenant's later tasks are not to wait for it."""
    person = behind.login()
    song = person.upload(warmup)
    refused = person.submit(song, duration=1)
    later = person.submit(person.upload(warmup, "other.mp3"), duration=1)
    way.on(request_line.format(song=song, task=refused), *(refuse(403),) * FOR_EVER)
    for _ in range(behind.settings.worker.max_attempts + 1):
        assert behind.work()
    view = person.task(refused)
    assert (view["status"], view["error_code"]) == ("failed", "storage_refused") and view["error_message"]
    assert kinds(behind, refused) == ["queued", *["processing", "queued"] * 2, "processing", "failed"]
    assert person.task(later)["status"] == "completed"
    assert person.money() == (9, 0)


@pytest.mark.parametrize(
    ("request_line", "fault"),
    [
        ("HEAD .*{song}", refuse(500)),
        ("GET .*{song}", refuse(503)),
        ("GET .*{song}", cut_answer(0)),
        ("PUT .*{task}", refuse(504)),
    ],
)
def test_a_file_with_which_the_storage_fails_is_no_storage_away(
    behind: InProcess, way: FaultyWay, warmup: Path, monkeypatch: pytest.MonkeyPatch, request_line: str, fault: Fault
) -> None:
    """A disk of its is broken, or a proxy gives up on large files: neither may the task wait for ever."""
    monkeypatch.setattr(separate, "PERSIST_SECONDS", 0.0)
    person = behind.login()
    song = person.upload(warmup)
    stuck = person.submit(song, duration=1)
    later = person.submit(person.upload(warmup, "other.mp3"), duration=1)
    way.on(request_line.format(song=song, task=stuck), *(fault,) * FOR_EVER)
    for _ in range(behind.settings.worker.max_attempts + 1):
        assert behind.work()
    view = person.task(stuck)
    assert (view["status"], view["error_code"]) == ("failed", "storage_failed") and view["error_message"]
    assert kinds(behind, stuck) == ["queued", *["processing", "queued"] * 2, "processing", "failed"]
    assert person.task(later)["status"] == "completed"
    assert person.money() == (9, 0)


def test_trouble_with_a_file_may_pass(behind: InProcess, way: FaultyWay, warmup: Path) -> None:
    person = behind.login()
    song = person.upload(warmup)
    task_id = person.submit(song, duration=1)
    way.on(f"GET .*{song}", refuse(503), cut_answer(0))
    for _ in range(3):
        assert behind.work()
    assert (person.task(task_id)["status"], behind.row(task_id).failures) == ("completed", 2)


@pytest.mark.parametrize("why", ["cancelled", "stopped"])
def test_a_file_with_which_the_storage_fails_is_left_alone_for_a_while(
    behind: InProcess, way: FaultyWay, warmup: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    """By other workers, too: three attempts would be over before a server that is busy has caught its breath."""
    monkeypatch.setattr(separate, "FILE_SECONDS", HANGS_SECONDS)
    person = behind.login()
    song = person.upload(warmup)
    task_id = person.submit(song, duration=1)
    way.on(f"GET .*{song}", *(refuse(503),) * FOR_EVER)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(behind.work)
        wait_for(lambda: way.count(f"GET .*{song}") > 0)
        time.sleep(0.5)
        assert behind.row(task_id).status == "processing" and not working.done()
        if why == "cancelled":
            assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
        else:
            behind.room.stopping.tell()
        assert working.result(60)
    row = behind.row(task_id)
    assert (row.status, row.failures) == ("cancelled" if why == "cancelled" else "queued", 0)


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_storage_that_refuses_everything_is_away(
    behind: InProcess, way: FaultyWay, warmup: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """As with a key that was changed, or without its bucket: no task is to blame."""
    person = behind.login()
    task_id = person.submit(person.upload(warmup), duration=1)
    closed = True
    monkeypatch.setattr(way, "fault", lambda _: refuse(status) if closed else None)
    for _ in range(behind.settings.worker.max_attempts + 1):
        assert behind.work()
    row = behind.row(task_id)
    assert (row.status, row.failures) == ("queued", 0)
    closed = False
    assert behind.work() and person.task(task_id)["status"] == "completed"


def test_nobody_waits_long_for_a_storage_to_remove_files(
    behind: InProcess, way: FaultyWay, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removal, "PATIENCE_SECONDS", 0.5)
    person = behind.login()
    upload_id = person.upload(warmup)
    done, tried, fresh = (person.submit(upload_id, duration=1) for _ in range(3))
    assert behind.work()
    taken = claim(behind)
    assert taken is not None and str(taken.task_id) == tried
    lifecycle.give_back(behind.wiring.database, taken, "worker_stopped")
    monkeypatch.setattr(way, "fault", lambda _: stall)
    asked, began = len(way.asked), time.monotonic()
    try:
        for task_id in (tried, fresh):
            assert person.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
        assert len(way.asked) == asked, "the storage is asked for nothing"
        assert person.delete(f"/tasks/{done}").status_code == 204
        assert person.delete(f"/uploads/{upload_id}").status_code == 204
        assert time.monotonic() - began < 10
    finally:
        way.closing.set()


def stall(handler: _Handler) -> None:
    """Takes a little of what is sent, and falls silent."""
    handler.rfile.read(min(1000, int(handler.headers.get("content-length", 0))))
    handler.way.closing.wait(HANGS_SECONDS)


@pytest.mark.parametrize("why", ["cancelled", "stopped"])
@pytest.mark.parametrize(
    ("request_line", "seconds"),
    [("GET .*{song}", 1), ("PUT .*{task}", 1), ("PUT .*{task}/parts", 3), ("GET .*{task}/parts", 3)],
)
def test_a_transfer_that_hangs_is_given_up(
    behind: InProcess, way: FaultyWay, warmup: Path, request_line: str, seconds: int, why: str
) -> None:
    """Its server would be waited for much longer than this test."""
    person = behind.login()
    song = person.upload(warmup)
    task_id = person.submit(song, duration=seconds)
    line = request_line.format(song=song, task=task_id)
    way.on(line, stall)
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(behind.work)
        try:
            wait_for(lambda: way.count(line) > 0)
            if why == "cancelled":
                assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
            else:
                behind.room.stopping.tell(at_once=True)
            assert working.result(60)
        finally:
            way.closing.set()
    if why == "cancelled":
        assert kinds(behind, task_id) == ["queued", "processing", "cancelled"]
        assert person.money() == (10, 0)
    else:
        assert behind.events(task_id)[-1].data == {"reason": "worker_stopped"}
        assert (behind.row(task_id).status, behind.row(task_id).failures) == ("queued", 0)


def test_what_comes_after_all_is_undone() -> None:
    slow, given_up, undone = threading.Event(), threading.Event(), threading.Event()

    def step() -> None:
        given_up.set()
        assert slow.wait(60)

    with pytest.raises(SeparationCancelled):
        heard(step, given_up.is_set, undone.set)
    assert not undone.is_set()
    slow.set()
    assert undone.wait(60)


def test_what_is_in_time_is_not() -> None:
    assert heard(lambda: 7, lambda: False, lambda: pytest.fail("undone")) == 7
    with pytest.raises(SeparationCancelled):
        heard(lambda: pytest.fail("begun"), lambda: True)


def test_a_process_ends_without_its_transfer(way: FaultyWay, s3_settings: dict[str, Any], tmp_path: Path) -> None:
    """A worker that was told to stop has handed its task back; nothing is left to wait for."""
    way.on("PUT", *(stall,) * FOR_EVER)
    storage = environment(s3_settings | {"endpoint": way.url, "timeout_seconds": HANGS_SECONDS})
    script = """
import os, sys, threading, time
from backend.settings import Settings
from backend.storage import open_storage
from engine.errors import SeparationCancelled
from workers.hearing import heard
storage = open_storage(Settings(_env_file=None))
began = time.monotonic()
with storage.incoming() as folder:
    (folder / "file").write_bytes(os.urandom(6 << 20))
    try:
        heard(lambda: storage.adopt(folder / "file", "output/song/1/a.wav"), lambda: time.monotonic() > began + 3)
    except SeparationCancelled:
        print("given up")
"""
    environ = {"PATH": "/usr/bin:/bin", "VR_DATA_DIR": str(tmp_path), "VR_STORAGE__PART_BYTES": str(5 << 20)}
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environ | storage, capture_output=True, text=True, timeout=90
    )
    assert (ended.returncode, ended.stdout) == (0, "given up\n"), ended.stderr
    assert way.count("PUT") > 0
