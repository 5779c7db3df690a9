"""A worker that runs out of disk, memory, file handles or of its decoder: its task fails and says so, nobody else's."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy.exc import DBAPIError

from backend.storage import LocalStorage
from engine.decoder.spare import spare
from engine.sink import DirectorySink
from tests.processes import Cluster, wait_until
from tests.service import InProcess, MakeService, Person
from tests.workers.test_life_of_a_task import kinds
from workers.failures import reason

ATTEMPTS = 3
ENDS_WITHIN_SECONDS = 5.0
"""Where a worker that can't go on ends."""
THREE_TIMES = ["queued", *["processing", "queued"] * (ATTEMPTS - 1), "processing", "failed"]


def failed(service: InProcess, person: Person, task_id: str, code: str) -> None:
    """For good, after all attempts: named, given back, and with nothing left of it."""
    view = person.task(task_id)
    assert (view["status"], view["error_code"], view["attempt"]) == ("failed", code, ATTEMPTS), view
    assert view["error_message"]
    assert kinds(service, task_id) == THREE_TIMES
    assert task_id not in "".join(service.files("output"))
    assert service.files("incoming") == []
    assert ("release", 1) in person.entries()
    assert person.money()[1] == 0


@contextmanager
def limited(which: int, most: int) -> Iterator[None]:
    """This very process, as the operator or the kernel would."""
    soft, hard = resource.getrlimit(which)
    resource.setrlimit(which, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(which, (soft, hard))


@contextmanager
def breaking(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, number: int, error: BaseException
) -> Iterator[None]:
    """From its `number`th call on it raises; until the block ends."""
    real, calls = getattr(owner, name), [0]

    def broken(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] >= number:
            raise error
        return real(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, broken)
        yield
    assert calls[0] >= number, "never came so far"


def work_until_done(service: InProcess, tasks: int = 1) -> None:
    for _ in range(tasks * ATTEMPTS):
        service.work()


def test_no_room_for_one_song_and_enough_for_another(
    make_service: MakeService, example: Path, warmup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel refuses its files in their middle, while the neighbour is separated beside it."""
    service = make_service()
    service.room.warm_up()
    person = service.login()
    large = person.submit(person.upload(example, "long.mp3"), duration=60)
    small = [person.submit(person.upload(warmup), duration=2) for _ in range(3)]
    with limited(resource.RLIMIT_FSIZE, 6_000_000), ThreadPoolExecutor(2) as pool:
        done = [pool.submit(work_until_done, service) for _ in range(2)]
        for each in done:
            each.result()
    failed(service, person, large, "storage_full")
    assert {person.task(task_id)["status"] for task_id in small} == {"completed"}
    assert person.money() == (7, 0)
    assert f"task {large} attempt 3: storage_full" in caplog.text


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    ("owner", "name", "number", "error", "code"),
    [
        *((LocalStorage, "adopt", number, FULL, "storage_full") for number in (1, 3)),
        *((os, "fsync", number, FULL, "storage_full") for number in (1, 4, 8)),
        *((Path, "replace", number, FULL, "storage_full") for number in (2, 3, 5)),
        (DirectorySink, "write", 3, FULL, "storage_full"),
        (DirectorySink, "write", 3, MemoryError(), "out_of_memory"),
        (DirectorySink, "commit", 1, MemoryError(), "out_of_memory"),
    ],
)
def test_all_stems_or_none(
    service: InProcess,
    demo: Person,
    warmup: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    number: int,
    error: BaseException,
    code: str,
) -> None:
    task_id = demo.submit(demo.upload(warmup), duration=1)
    for _ in range(ATTEMPTS):  # each meets it again
        with breaking(monkeypatch, owner, name, number, error):
            assert service.work()
        assert service.files("output", "incoming") == []
    failed(service, demo, task_id, code)
    neighbour = demo.submit(demo.upload(warmup), duration=1)
    assert service.work()
    assert demo.task(neighbour)["status"] == "completed"


def test_no_memory_in_the_network(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a thread of the model, where nobody would catch it."""
    with service.room.separator("lite") as separator:
        task_id = demo.submit(demo.upload(warmup), duration=1)
        for _ in range(ATTEMPTS):
            with breaking(monkeypatch, type(separator), "stream", 1, MemoryError()):
                assert service.work()
    failed(service, demo, task_id, "out_of_memory")


def test_no_file_handles(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    before = demo.submit(upload_id, duration=1)
    assert service.work()  # whatever stays open is open now
    task_id = demo.submit(upload_id, duration=1)
    spare.cool()
    with limited(resource.RLIMIT_NOFILE, _next_handle()):
        for _ in range(20):
            with suppress(DBAPIError):  # it needs handles, too: nothing was claimed
                service.work()
            if service.row(task_id).attempt == ATTEMPTS:
                break
    failed(service, demo, task_id, "too_many_open_files")
    after = demo.submit(upload_id, duration=1)
    assert service.work()
    assert {demo.task(each)["status"] for each in (before, after)} == {"completed"}


def test_a_worker_outlives_its_want_of_handles(tmp_path: Path, warmup: Path) -> None:
    """It looks for bells in a folder all the time, which needs one."""
    with Cluster(tmp_path) as cluster:
        person = cluster.login()
        upload_id = person.upload(warmup)
        worker = cluster.processes["worker"]
        process = psutil.Process(worker.pid)
        before = process.rlimit(psutil.RLIMIT_NOFILE)
        process.rlimit(psutil.RLIMIT_NOFILE, (0, before[1]))
        task_id = person.submit(upload_id, duration=1)
        wait_until(lambda: "Too many open files" in worker.text())
        with pytest.raises(psutil.TimeoutExpired):
            process.wait(ENDS_WITHIN_SECONDS)
        assert "no bell can be heard, trying again: [Errno 24] Too many open files" in worker.text()
        process.rlimit(psutil.RLIMIT_NOFILE, before)
        assert cluster.finished(person, task_id)["status"] == "completed"


def _next_handle() -> int:
    handle = os.open("/", os.O_RDONLY)
    os.close(handle)
    return handle


def test_a_decoder_that_the_kernel_ends(service: InProcess, demo: Person, example: Path, warmup: Path) -> None:
    """As it does when the machine has no memory left."""
    task_id = demo.submit(demo.upload(example))
    over = threading.Event()

    def kill() -> None:
        while not over.wait(0.02):
            for process in list(spare._serving):
                os.kill(process.pid, 9)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        work_until_done(service)
    finally:
        over.set()
        killer.join()
    failed(service, demo, task_id, "decoder_crashed")
    assert "SIGKILL" in demo.task(task_id)["error_message"]
    neighbour = demo.submit(demo.upload(warmup), duration=1)
    assert service.work()
    assert demo.task(neighbour)["status"] == "completed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.EDQUOT, "quota"), "storage_full"),
        (OSError(errno.ENFILE, "files"), "too_many_open_files"),
        (OSError(errno.ENOMEM, "memory"), "out_of_memory"),
        (RuntimeError("std::bad_alloc"), "out_of_memory"),
        (RuntimeError("can't start new thread"), "too_many_open_files"),
        (OSError(errno.EIO, "the disk is broken"), "internal_error"),
        (ValueError("anything else"), "internal_error"),
    ],
)
def test_what_libraries_say(error: Exception, code: str) -> None:
    assert reason(error)[0] == code
    wrapped = ValueError("could not write")
    wrapped.__cause__ = error
    assert reason(wrapped)[0] == code
