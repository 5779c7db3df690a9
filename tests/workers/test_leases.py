"""Keeping a lease on a machine that runs out of something for a moment."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import pytest

from backend.task import lifecycle
from tests.servers import on_both
from tests.service import InProcess, Person
from tests.workers.test_life_of_a_task import claim, kinds, wait_for
from workers.lease import Lease


@on_both
def test_no_thread_for_a_lease(service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that was claimed goes back at once; nobody has to wait until its lease ends."""
    task_id = demo.submit(demo.upload(warmup), duration=1)
    start, refused = threading.Thread.start, threading.Event()

    def refuse_once(thread: threading.Thread) -> None:
        if thread.name.startswith("lease-") and not refused.is_set():
            refused.set()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    service.work()
    row = service.row(task_id)
    assert refused.is_set() and (row.status, row.failures, row.lease_until) == ("queued", 1, None)
    assert service.events(task_id)[-1].data == {"reason": "too_many_open_files"}
    assert service.work()
    assert kinds(service, task_id) == ["queued", "processing", "queued", "processing", "completed"]


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_lease_outlives_one_renewal(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    task_id = demo.submit(demo.upload(warmup))
    renew, failed = lifecycle.renew, threading.Event()

    def fail_once(*arguments: Any) -> bool:
        if not failed.is_set():
            failed.set()
            raise error
        return renew(*arguments)

    monkeypatch.setattr(lifecycle, "renew", fail_once)
    taken = claim(service)
    assert taken
    before = service.row(task_id).lease_until
    assert before
    with Lease(service.wiring.database, taken, service.settings.worker, lambda: False) as lease:
        wait_for(failed.is_set)
        lease.tell(0.5, "separating")
        wait_for(lambda: service.row(task_id).progress == 0.5)
        assert not lease.interrupted()
        assert demo.post(f"/tasks/{task_id}/cancel").status_code == 200
        wait_for(lease.interrupted)
    assert lease.state == "lost"
