"""Cancelled in whatever state: at once for its owner, and within two seconds there is no decoder and no file left."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from backend.settings.machine import Worker
from engine.audio import Samples
from engine.decoder import watched
from engine.decoder.spare import spare
from engine.separate import BLOCK_FRAMES
from engine.sink import DirectorySink
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.workers.test_life_of_a_task import claim, expire, kinds, wait_for, working
from tests.workers.test_sweeping import put
from workers import hearing, lead, parts, separate
from workers.lease import Lease
from workers.sweep import Sweep
from workers.tidy import Tidy

RENEW_SECONDS = 1.0
"""As by default: the worker hears of it after so long at most."""
WITHIN_SECONDS = 2.0
SLOW_MACHINE_SECONDS = 8.0
"""What a machine that does other things beside may add."""


def decoders() -> set[psutil.Process]:
    """Children of ours that decode; the spare one waits and is none."""
    return {psutil.Process(process.pid) for process in spare._serving}


def cancel_at(service: InProcess, person: Person, task_id: str, reached: Callable[[], bool]) -> float:
    """While a worker is at work; seconds until nothing of the task is left."""
    with working(service):
        wait_for(reached)
        children = decoders()
        began = time.monotonic()
        answer = person.post(f"/tasks/{task_id}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
        assert person.money() == (10, 0)  # at once
    took = time.monotonic() - began
    assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
    assert not decoders()
    assert service.files("output", "incoming") == []
    assert kinds(service, task_id) == ["queued", "processing", "cancelled"]
    assert person.task(task_id)["status"] == "cancelled"
    assert person.money() == (10, 0)
    assert took < WITHIN_SECONDS + SLOW_MACHINE_SECONDS
    return took


@pytest.fixture
def usual(make_service: MakeService) -> InProcess:
    return make_service(worker={"renew_seconds": RENEW_SECONDS})


def test_pauses_leave_room_within_two_seconds() -> None:
    """By the defaults, on any machine: until a worker has heard of it, and until whatever it waits for asks it."""
    pauses = {
        "for the decoder": watched.CHECK_SECONDS,
        "for a patch": lead.LOOK_SECONDS,
        "for the storage": hearing.LOOK_SECONDS,
        "between two tries of the storage": separate.HEARING_SECONDS,
        "between two tries of the database": parts.RETRY_SECONDS,
    }
    assert Worker().renew_seconds == RENEW_SECONDS
    assert RENEW_SECONDS + max(pauses.values()) < WITHIN_SECONDS, pauses


def test_each_block_is_asked_for(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks at the lease no more than one block of each stem is written: 0.7 s of the song."""
    done: list[str] = []
    interrupted, write = Lease.interrupted, DirectorySink.write

    def ask(lease: Lease) -> bool:
        done.append("ask")
        return interrupted(lease)

    def note(sink: DirectorySink, stem: str, block: Samples) -> Samples:
        assert len(block) <= BLOCK_FRAMES
        done.append(stem)
        return write(sink, stem, block)

    monkeypatch.setattr(Lease, "interrupted", ask)
    monkeypatch.setattr(DirectorySink, "write", note)
    demo.submit(demo.upload(warmup))
    assert service.work()
    stems = {each for each in done if each != "ask"}
    assert done.count("vocals") > 2
    between = " ".join(done).split("ask")
    assert all(each.split().count(stem) <= 1 for each in between for stem in stems)


@on_both
def test_one_that_waits(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    for _ in range(2):
        assert demo.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
    assert service.work() is False
    assert demo.money() == (10, 0)
    assert kinds(service, task_id) == ["queued", "cancelled"]
    assert service.row(task_id).attempt == 0  # no worker had it, and only workers write


@on_both
def test_one_of_which_killed_workers_have_left_files(service: InProcess, demo: Person, warmup: Path) -> None:
    """Nobody who cancels waits for the storage: the sweep removes them."""
    task_id = demo.submit(demo.upload(warmup))
    for attempt in (1, 2):
        taken = claim(service)
        assert taken is not None
        put(service, taken.task_id, attempt)
        expire(service, task_id)
        Sweep(service.wiring, "another").run(idle=0)
    assert demo.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
    assert len(service.files("output")) == 2
    Tidy(service.wiring).run()
    assert service.files("output") == []


@on_both
def test_one_whose_worker_died(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    assert claim(service)
    assert demo.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
    assert demo.money() == (10, 0)
    assert kinds(service, task_id) == ["queued", "processing", "cancelled"]


@pytest.mark.parametrize("stage", ["listening", "separating"])
def test_one_that_is_heard_or_separated(usual: InProcess, long_song: Path, stage: str) -> None:
    person = usual.login()
    task_id = person.submit(person.upload(long_song))

    def reached() -> bool:
        row = usual.row(task_id)
        if stage == "listening":  # may be over before it is told
            return row.status == "processing" and bool(decoders())
        return row.stage == stage and row.progress > 0.12

    took = cancel_at(usual, person, task_id, reached)
    print(f"cancelled while {stage}: {took:.2f} s until nothing was left")


def test_one_whose_decoder_hangs(usual: InProcess, long_song: Path) -> None:
    person = usual.login()
    task_id = person.submit(person.upload(long_song))

    def stopped() -> bool:
        for child in decoders():
            child.send_signal(signal.SIGSTOP)
            return True
        return False

    took = cancel_at(usual, person, task_id, stopped)
    print(f"cancelled while the decoder hung: {took:.2f} s")


def test_one_whose_model_loads(usual: InProcess, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can end a compiler in its middle; but there is nothing of the task yet either."""
    loading, loaded = threading.Event(), threading.Event()
    load = usual.room._load

    def slowly(spec: object) -> object:
        loading.set()
        assert loaded.wait(60)
        return load(spec)  # type: ignore[arg-type]

    monkeypatch.setattr(usual.room._registry, "_load", slowly)
    person = usual.login()
    task_id = person.submit(person.upload(warmup))
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(usual.work)
        assert loading.wait(60)
        assert person.post(f"/tasks/{task_id}/cancel").json()["status"] == "cancelled"
        assert person.money() == (10, 0)
        assert not decoders()
        loaded.set()
        assert work.result(60)
    assert usual.files("output", "incoming") == []
    assert kinds(usual, task_id) == ["queued", "processing", "cancelled"]


@pytest.mark.parametrize("place", ["encoder", "shown"])
def test_one_that_is_written(usual: InProcess, warmup: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    """On a disk that takes its time: with the last block, or when all is written."""
    written = threading.Event()
    commit = DirectorySink.commit

    def slowly(sink: DirectorySink) -> None:
        if place == "shown":
            commit(sink)
        written.set()
        time.sleep(1.5)
        if place == "encoder":
            commit(sink)

    monkeypatch.setattr(DirectorySink, "commit", slowly)
    person = usual.login()
    task_id = person.submit(person.upload(warmup))
    took = cancel_at(usual, person, task_id, written.is_set)
    print(f"cancelled while written ({place}): {took:.2f} s")


@on_both
def test_just_when_it_completes(service: InProcess, demo: Person, warmup: Path) -> None:
    """Either is true, and all of it: the stems and the price, or neither."""
    service.room.warm_up()
    upload_id = demo.upload(warmup)
    began = time.monotonic()
    demo.submit(upload_id, duration=1)
    assert service.work()
    usual, chance = time.monotonic() - began, random.Random(6)
    ends: list[str] = []
    spent = 1
    for _ in range(8):
        task_id = demo.submit(upload_id, duration=1)
        with working(service):
            time.sleep(usual * chance.uniform(0.3, 1.1))
            answer = demo.post(f"/tasks/{task_id}/cancel")
        view = demo.task(task_id)
        assert (answer.status_code, view["status"]) in ((200, "cancelled"), (409, "completed"))
        ends.append(view["status"])
        spent += view["status"] == "completed"
        assert len(service.files("output")) == 3 * spent
        assert service.files("incoming") == []
        assert demo.money() == (10 - spent, 0)
    print(ends)
