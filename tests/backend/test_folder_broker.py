"""The broker without a server: bells are heard whole, once, and whatever lies in its folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import Empty
from typing import Any

import pytest

from backend.queue import celery_app
from backend.settings import Settings
from tests.processes import Cluster, wait_until

QUEUE = "bells"
MESSAGES = 1000


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path)


@contextmanager
def channel(settings: Settings) -> Iterator[Any]:
    with celery_app(settings).connection() as connection:
        yield connection.channel()


def test_each_message_is_heard_whole_and_once(settings: Settings) -> None:
    over = threading.Event()
    celery_app(settings)  # its first import is not for several threads

    def put(first: int) -> None:
        with channel(settings) as mine:
            for number in range(first, first + MESSAGES):
                mine._put(QUEUE, {"number": number, "text": "x" * 500})

    def get() -> list[int]:
        heard = []
        with channel(settings) as mine:
            while True:
                ended = over.is_set()
                try:
                    heard.append(mine._get(QUEUE)["number"])
                except Empty:
                    if ended:
                        return heard

    with ThreadPoolExecutor(4) as pool:
        getting = [pool.submit(get) for _ in range(2)]
        try:
            for putting in [pool.submit(put, first) for first in (0, MESSAGES)]:
                putting.result()
        finally:
            over.set()
        heard = sorted(number for each in getting for number in each.result())
    assert heard == list(range(2 * MESSAGES))
    assert list((settings.data_dir / "queue" / "messages").iterdir()) == []


def test_what_a_power_cut_leaves_ends_nobody(tmp_path: Path, warmup: Path) -> None:
    """Empty files, which a file system may leave of those that were being written."""
    with Cluster(tmp_path) as cluster:
        worker = cluster.processes["worker"]
        folder = cluster.data_dir / "queue"
        (folder / "messages" / "0_0.vocal_remover.msg").touch()
        wait_until(lambda: "a bell that can't be read: 0_0.vocal_remover.msg" in worker.text())
        for table in (folder / "control").iterdir():
            table.write_bytes(b"")
        cluster.kill("worker")
        cluster.start("worker")
        cluster.ready()
        person = cluster.login()
        task_id = person.submit(person.upload(warmup), duration=1)
        assert cluster.finished(person, task_id)["status"] == "completed"
        assert "Traceback" not in worker.text()
