"""A worker whose storage goes away: the task waits, its result waits, and no attempt counts as failed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person
from workers import separate


@pytest.fixture
def service(make_service: MakeService, own_s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> InProcess:
    monkeypatch.setattr(separate, "STORAGE_SECONDS", 0.0)
    return make_service(storage=own_s3_server.settings() | {"attempts": 1, "timeout_seconds": 30})


def test_a_song_that_can_t_be_fetched_waits(
    service: InProcess, demo: Person, own_s3_server: S3Server, warmup: Path
) -> None:
    task_id = demo.submit(demo.upload(warmup))
    own_s3_server.stop()
    for _ in range(service.settings.worker.max_attempts + 1):
        assert service.work()
    row = service.row(task_id)
    assert (row.status, row.failures) == ("queued", 0)
    assert {event.data.get("reason") for event in service.events(task_id)[2:]} >= {"storage_unavailable"}
    own_s3_server.start()
    assert service.work() and demo.task(task_id)["status"] == "completed"
    assert demo.money() == (9, 0)


def test_a_result_waits_for_its_place(
    service: InProcess, demo: Person, own_s3_server: S3Server, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = demo.submit(demo.upload(warmup))
    storage = service.room.wiring.storage
    adopt, away = type(storage).adopt, threading.Event()

    def leave_and_come_back(*args: Any) -> None:
        if not away.is_set():
            away.set()
            own_s3_server.stop()
            threading.Timer(1, own_s3_server.start).start()
        adopt(*args)

    monkeypatch.setattr(type(storage), "adopt", leave_and_come_back)
    assert service.work()
    assert (demo.task(task_id)["status"], service.row(task_id).attempt) == ("completed", 1)
    assert storage.attempts("song.mp3", service.row(task_id).id) == [1] and service.files() == []


def test_a_cancel_is_heard_while_the_result_waits(
    service: InProcess, demo: Person, own_s3_server: S3Server, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = demo.submit(demo.upload(warmup))
    storage = service.room.wiring.storage
    adopt = type(storage).adopt

    def cancel(*args: Any) -> None:
        if demo.task(task_id)["status"] == "processing":
            own_s3_server.stop()
            assert demo.post(f"/tasks/{task_id}/cancel").status_code == 200
        adopt(*args)

    monkeypatch.setattr(type(storage), "adopt", cancel)
    assert service.work()
    assert demo.task(task_id)["status"] == "cancelled" and demo.money() == (10, 0)


def test_a_bucket_that_is_gone_is_no_missing_song(
    service: InProcess, demo: Person, own_s3_server: S3Server, warmup: Path
) -> None:
    """Until it is there again, without the song."""
    task_id = demo.submit(demo.upload(warmup))
    client, bucket = own_s3_server.client(), service.settings.storage.bucket
    for each in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=each["Key"])
    client.delete_bucket(Bucket=bucket)
    for _ in range(service.settings.worker.max_attempts + 1):
        assert service.work()
    row = service.row(task_id)
    assert (row.status, row.failures) == ("queued", 0)
    client.create_bucket(Bucket=bucket)
    for _ in range(service.settings.worker.max_attempts):
        assert service.work()
    view = demo.task(task_id)
    assert (view["status"], view["error_code"]) == ("failed", "song_missing") and view["error_message"]
    assert demo.money() == (10, 0)
