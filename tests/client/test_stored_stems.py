"""Stems that lie on an S3 server: fetched by its links, which nobody else is shown and no token goes to."""

from __future__ import annotations

import asyncio
import hashlib
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import HASTY, warm
from tests.client.faulty_way import FaultyWay, cut_answer, faulty_way, refuse
from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person
from vocal_remover import AsyncClient, Client, NotAllowed, Refused, Task, Unreachable

STEM = "^GET .*/vocals"


@pytest.fixture
def storage(s3_server: S3Server) -> Iterator[FaultyWay]:
    """The way of clients to the storage."""
    with faulty_way(s3_server.url, keeps_host=True) as way:
        yield way


@pytest.fixture
def service(make_service: MakeService, s3_settings: dict[str, Any], storage: FaultyWay) -> InProcess:
    return warm(make_service(storage=s3_settings | {"public_endpoint": storage.url}))


@pytest.fixture
def task(service: InProcess, demo: Person, client: Client, warmup: Path) -> Task:
    ordered = demo.submit(demo.upload(warmup))
    assert service.work()
    return client.wait(ordered)


def check(task: Task, files: dict[str, Path]) -> None:
    assert set(files) == {"vocals", "accompaniment"}
    for stem in task.stems:
        assert hashlib.sha256(files[stem.name].read_bytes()).hexdigest() == stem.sha256


def test_a_link_is_followed_without_the_token(
    client: Client, task: Task, demo: Person, storage: FaultyWay, tmp_path: Path
) -> None:
    check(task, client.download(task, tmp_path / "one"))

    async def fetch() -> dict[str, Path]:
        async with AsyncClient(str(demo.client.base_url), demo.token, patience=HASTY) as other:
            return await other.download(task.id, tmp_path / "other")

    check(task, asyncio.run(fetch()))
    assert len(storage.asked) == 4
    for asked in storage.asked:
        assert "authorization" not in asked.headers and demo.token not in asked.path


def test_what_was_cut_goes_on(client: Client, task: Task, storage: FaultyWay, way: FaultyWay, tmp_path: Path) -> None:
    storage.on(STEM, cut_answer(100_000), cut_answer(100_000))
    check(task, client.download(task, tmp_path))
    ranges = [asked.headers.get("range", "") for asked in storage.requests(STEM)]
    assert ranges[0] == "" and len(ranges) == len(set(ranges)) == 3
    assert way.count("^GET .*/stems/vocals") == 3, "each time by a new link"


def test_errors_hold_no_link(client: Client, task: Task, storage: FaultyWay, way: FaultyWay, tmp_path: Path) -> None:
    other = "http://storage.example.com/song?X-Amz-Signature=secret"
    for fault, kind in (
        (refuse(403), NotAllowed),
        (refuse(307, Location=other), Refused),
        (lambda handler: handler.connection.close(), Unreachable),
        (cut_answer(0), Unreachable),
    ):
        storage.on(STEM, *[fault] * 100)
        before = storage.count(STEM)
        with pytest.raises(kind) as error:
            client.download(task, tmp_path, stems=["vocals"])
        said = "".join(traceback.format_exception(error.value))
        assert "X-Amz" not in said and "secret" not in said
        assert (storage.count(STEM) - before == 1) == (kind is not Unreachable)
        while storage.fault("GET /vocals"):
            pass
    way.on("^GET .*/stems/vocals", refuse(307))
    with pytest.raises(Exception, match="no link"):
        client.download(task, tmp_path, stems=["vocals"])


def test_nothing_else_follows(client: Client, way: FaultyWay) -> None:
    way.on("^GET .*/credits", refuse(307, Location=f"{way.url}/elsewhere?signature=secret"))
    with pytest.raises(Refused) as error:
        client.credits()
    assert "secret" not in str(error.value) and way.count("elsewhere") == 0
