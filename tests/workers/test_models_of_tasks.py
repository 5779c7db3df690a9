"""Which model a task gets, weights that can't be had, and warming up."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from backend.models import Worker
from backend.worker import service as workers
from engine.errors import DecoderCrashed, InferenceServerUnavailable
from tests.engine.checkpoints import write_random_checkpoint
from tests.engine.release import Handler, Release, serve, status
from tests.processes import wait_until
from tests.servers import free_port
from tests.service import InProcess, MakeService
from workers import room


def test_weights_that_can_t_be_had_fail_the_task_that_names_them(make_service: MakeService, warmup: Path) -> None:
    mirror = f"http://127.0.0.1:{free_port()}/"
    service = make_service(engine={"weights_mirror": mirror}, worker={"max_attempts": 1})
    person = service.login()
    upload_id = person.upload(warmup)
    named, unnamed = person.submit(upload_id, model="spleeter:2stems"), person.submit(upload_id)
    assert person.money() == (8, 2)
    while service.work():
        pass
    failed = person.task(named)
    assert (failed["status"], failed["error_code"]) == ("failed", "weights_unavailable")
    assert failed["model"] == "spleeter:2stems"
    assert failed["error_message"] and failed["stems"] == []
    assert (person.task(unnamed)["status"], person.task(unnamed)["model"]) == ("completed", "lite")
    assert person.money() == (9, 0)


def test_weights_in_a_local_folder_are_used(make_service: MakeService, warmup: Path, tmp_path: Path) -> None:
    local = tmp_path / "weights"
    write_random_checkpoint(local / "2stems")
    service = make_service(engine={"weights_local": local})
    service.room.warm_up()  # a worker that starts takes them over
    person = service.login()
    models = {model["id"]: model for model in person.get("/models").json()}
    assert (models["spleeter:2stems"]["ready"], models["spleeter:2stems"]["default"]) == (True, True)
    upload_id = person.upload(warmup)
    unnamed, lite = person.submit(upload_id), person.submit(upload_id, model="lite")
    assert service.work() and service.work()
    for task_id, model in ((unnamed, "spleeter:2stems"), (lite, "lite")):
        view = person.task(task_id)
        assert (view["status"], view["model"]) == ("completed", model)
    digests = [stem["sha256"] for task_id in (unnamed, lite) for stem in person.task(task_id)["stems"]]
    assert len(set(digests)) == 4


def test_warming_up_says_how_long_it_took(make_service: MakeService, caplog: pytest.LogCaptureFixture) -> None:
    service = make_service()
    with caplog.at_level(logging.INFO):
        service.room.warm_up()
    (line,) = [record for record in caplog.records if "is warm" in record.getMessage()]
    assert isinstance(line.args, tuple)
    seconds: Any = line.args[-1]
    assert seconds > 0


def test_without_the_warm_up_song(
    make_service: MakeService, tmp_path: Path, warmup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = tmp_path / "missing.mp3"
    service = make_service(engine={"warmup_song": missing})
    service.room.warm_up()
    assert f"no warm-up song at {missing}: the first task warms the model up" in caplog.text
    person = service.login()
    task_id = person.submit(person.upload(warmup))
    assert service.work()
    assert person.task(task_id)["status"] == "completed"


@pytest.fixture
def troubled(make_service: MakeService) -> InProcess:
    service = make_service()
    with service.wiring.database.write() as session:
        workers.started(session, service.room.name)
    return service


def seen(service: InProcess) -> tuple[str | None, str | None]:
    """What is known of the worker: (its error, its model)."""
    with service.wiring.database.read() as session:
        row = session.scalars(select(Worker)).one()
        return row.error, row.warm_model


def test_a_model_that_loads_later_makes_its_worker_well(troubled: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as not_yet:
        not_yet.setattr(room, "load_separator", Mock(side_effect=InferenceServerUnavailable("Not up yet.")))
        troubled.room.warm_up()
    assert seen(troubled) == ("inference_server_unavailable: Not up yet.", None)
    with troubled.room.separator("lite"):
        assert seen(troubled) == (None, "lite")


def test_a_task_that_completes_makes_its_worker_well(
    troubled: InProcess, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the model has loaded, and could not be tried."""
    with monkeypatch.context() as not_yet:
        not_yet.setattr(room, "warm", Mock(side_effect=DecoderCrashed("Died of SIGKILL.")))
        troubled.room.warm_up()
    ill = ("decoder_crashed: Died of SIGKILL.", None)
    assert seen(troubled) == ill
    with pytest.raises(DecoderCrashed), troubled.room.separator("lite"):
        raise DecoderCrashed
    assert seen(troubled) == ill
    person = troubled.login()
    task_id = person.submit(person.upload(warmup), model="lite")
    assert troubled.work() and person.task(task_id)["status"] == "completed"
    assert seen(troubled) == (None, "lite")


def test_a_database_that_is_away_then_is_told_later(
    troubled: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as not_yet:
        not_yet.setattr(room, "load_separator", Mock(side_effect=InferenceServerUnavailable("Not up yet.")))
        troubled.room.warm_up()
    with monkeypatch.context() as away:
        away.setattr(workers, "warmed", Mock(side_effect=SQLAlchemyError))
        with troubled.room.separator("lite"):
            pass
    assert seen(troubled)[0] and "SQLAlchemyError" in caplog.text
    with troubled.room.separator("lite"):
        pass
    assert seen(troubled) == (None, "lite")


def test_a_task_is_cancelled_while_its_mirror_says_nothing(make_service: MakeService, warmup: Path) -> None:
    """Its download would wait for half a minute, and then try again."""
    over = threading.Event()

    def say_nothing(_handler: Handler, _content: bytes) -> None:
        over.wait(100)

    with serve(Release(behaviours=[say_nothing])) as release:
        service = make_service(engine={"weights_mirror": release.url})
        person = service.login()
        task_id = person.submit(person.upload(warmup), model="spleeter:2stems")
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(service.work)
            try:
                wait_until(lambda: release.requests)
                assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
                assert working.result(timeout=10)
            finally:
                over.set()
        wait_until(lambda: not any(thread.name == "heard" for thread in threading.enumerate()))
        assert len(release.requests) == 1, "it is given up there, too"
    assert person.task(task_id)["status"] == "cancelled"
    assert person.money() == (10, 0)


def test_a_task_is_cancelled_while_its_weights_trickle_in(make_service: MakeService, warmup: Path) -> None:
    over = threading.Event()

    def trickle(handler: Handler, _content: bytes) -> None:
        handler.begin(b"", content_length=73_109_797)
        while not over.wait(0.05):
            handler.wfile.write(b"w")

    with serve(Release(behaviours=[trickle] * 3)) as release:
        service = make_service(engine={"weights_mirror": release.url.replace("//", "//bob:s3cret@")})
        person = service.login()
        task_id = person.submit(person.upload(warmup), model="spleeter:2stems")
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(service.work)
            try:
                wait_until(lambda: "fetching" in str(person.task(task_id)["stage"]))
                assert person.post(f"/tasks/{task_id}/cancel").status_code == 200
                assert working.result(timeout=30)
            finally:
                over.set()
    task = person.task(task_id)
    assert task["status"] == "cancelled"
    assert person.money() == (10, 0)


def test_a_mirror_s_password_is_shown_to_nobody(
    make_service: MakeService, warmup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(Release(behaviours=[status(404)] * 3)) as release:
        service = make_service(engine={"weights_mirror": release.url.replace("//", "//bob:s3cret@")})
        person = service.login()
        task_id = person.submit(person.upload(warmup), model="spleeter:2stems")
        with caplog.at_level(logging.INFO):
            assert service.work()
    task = person.task(task_id)
    assert task["error_code"] == "weights_unavailable"
    assert "2stems.tar.gz" in task["error_message"]
    assert "s3cret" not in task["error_message"] + caplog.text
    assert "127.0.0.1" not in task["error_message"]
