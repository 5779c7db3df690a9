"""The client over a way that cuts, loses, refuses and falls silent."""

from __future__ import annotations

import asyncio
import hashlib
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.client.conftest import HASTY, warm, worker_of
from tests.client.faulty_way import (
    Fault,
    FaultyWay,
    cut_after,
    cut_answer,
    cut_request,
    faulty_way,
    lose_answer,
    mute,
    refuse,
    spoil,
)
from tests.service import FAST, InProcess, MakeService, Person
from vocal_remover import AsyncClient, Busy, Client, Damaged, NotFound, Progress, Task, Unreachable
from vocal_remover.song_body import PIECE

EVENTS = "GET .*/events"
STEMS = "GET .*/stems/vocals"


def test_an_order_whose_answer_got_lost_is_one_task(client: Client, way: FaultyWay, demo: Person, warmup: Path) -> None:
    song = client.upload(warmup)
    way.on("POST .*/separate", lose_answer, refuse(503), lose_answer)
    ordered = client.submit(song)
    assert [task.id for task in client.tasks()] == [ordered.id]
    assert demo.money() == (9, 1)
    keys = {asked.headers["idempotency-key"] for asked in way.requests("POST .*/separate")}
    assert (len(keys), way.count("POST .*/separate")) == (1, 4)


def test_a_song_whose_answer_got_lost_is_there_once(client: Client, way: FaultyWay, demo: Person, warmup: Path) -> None:
    way.on("POST .*/uploads", cut_request, lose_answer)
    song = client.upload(warmup)
    assert song.sha256 == hashlib.sha256(warmup.read_bytes()).hexdigest()
    assert [row["id"] for row in demo.get("/uploads").json()] == [song.id]
    assert way.count("POST .*/uploads") == 2


def test_a_song_that_never_arrives(client: Client, way: FaultyWay, demo: Person, warmup: Path) -> None:
    way.on("POST .*/uploads", *[cut_request] * 10)
    with pytest.raises(Unreachable):
        client.upload(warmup)
    assert way.count("POST .*/uploads") == HASTY.attempts
    assert demo.get("/uploads").json() == []


def test_the_service_s_own_limit_is_waited_for(make_service: MakeService, warmup: Path) -> None:
    """A client that didn't obey Retry-After would ask again many times a second, and give up."""
    service = make_service(limit={"separate": "1 per 2 seconds", "login": FAST})
    person = service.login()
    with faulty_way(service.url) as way, Client(way.url, person.token, patience=HASTY) as client:
        song = client.upload(warmup)
        for _ in range(2):
            client.submit(song)
        assert way.count("POST .*/separate") == 3


def test_a_pause_that_is_too_long_is_told_instead(client: Client, way: FaultyWay) -> None:
    way.on("GET .*/credits", refuse(429, Retry_After="3600"))
    with pytest.raises(Busy) as busy:
        client.credits()
    assert (busy.value.retry_after, busy.value.status, way.count("GET .*/credits")) == (3600, 429, 1)


def test_it_gives_up_after_so_many_attempts(client: Client, way: FaultyWay) -> None:
    way.on("GET .*/credits", *[refuse(503, Retry_After="0")] * 10)
    with pytest.raises(Busy):
        client.credits()
    assert way.count("GET .*/credits") == HASTY.attempts


def test_an_error_of_the_request_is_not_repeated(client: Client, way: FaultyWay) -> None:
    with pytest.raises(NotFound):
        client.wait("0198c5d2-7c1a-7d43-9b0e-6a1f0c9e2b11")
    assert len(way.asked) == 2  # the events and the task


def test_events_go_on_after_the_last_one(service: InProcess, demo: Person, way: FaultyWay, warmup: Path) -> None:
    """They are cut twice, before and after the first was whole; then the worker comes, which may load its model."""
    with Client(way.url, demo.token, patience=replace(HASTY, silence=60)) as client, ExitStack() as later:
        ordered = client.submit(client.upload(warmup))
        way.on(EVENTS, cut_answer(10), cut_after(b"\n\n"))

        def tell(_: Progress) -> None:
            if way.count(EVENTS) == 2 and not started:
                started.append(later.enter_context(worker_of(service)))

        started: list[None] = []
        assert client.wait(ordered.id, on_progress=tell).status == "completed"
    after = [int(asked.headers["last-event-id"]) for asked in way.requests(EVENTS)]
    assert after[:3] == [0, 0, 1]
    assert after == sorted(after)


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("fault", [refuse(502), refuse(200), mute, cut_answer(0)], ids=["502", "no", "mute", "cut"])
def test_without_events_it_looks(fault: Fault, client: Client, way: FaultyWay, demo: Person, warmup: Path) -> None:
    way.on(EVENTS, *[fault] * 1000)
    ordered = client.submit(demo.upload(warmup))
    assert client.wait(ordered.id).status == "completed"
    looks = way.count(f"GET .*/tasks/{ordered.id}$")
    assert 0 < way.count(EVENTS) <= 2 + looks / 8 + 1


@pytest.fixture
def completed(service: InProcess, client: Client, demo: Person, warmup: Path) -> Task:
    ordered = client.submit(demo.upload(warmup), format="flac")
    assert warm(service).work()
    return client.task(ordered.id)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def wanted(task: Task) -> tuple[str, int]:
    stem = next(stem for stem in task.stems if stem.name == "vocals")
    return stem.sha256, stem.size


def test_a_download_goes_on_where_it_was_cut(
    client: Client, way: FaultyWay, completed: Task, demo: Person, tmp_path: Path
) -> None:
    digest, size = wanted(completed)
    way.on(STEMS, *[cut_answer(size // 6)] * 5)  # more often than it would try without getting further
    files = client.download(completed, tmp_path, stems=["vocals"])
    assert sha256(files["vocals"]) == digest
    ranges = [asked.headers.get("range") for asked in way.requests(STEMS)]
    assert ranges[0] is None
    assert len(ranges) == 6
    starts = [int(re.findall(r"\d+", str(text))[0]) for text in ranges[1:]]
    assert starts == sorted(set(starts)), "it lost what it had"

    async def again() -> dict[str, Path]:
        way.on(STEMS, cut_answer(PIECE // 2))
        async with AsyncClient(way.url, demo.token, patience=HASTY) as other:
            return await other.download(completed.id, tmp_path / "async", stems=["vocals"])

    assert sha256(asyncio.run(again())["vocals"]) == digest
    (start,) = re.findall(r"\d+", way.requests(STEMS)[-1].headers["range"])
    assert 0 < int(start) < PIECE < size, "what had come of a piece was lost"


def test_what_an_earlier_process_fetched_is_kept(
    client: Client, way: FaultyWay, completed: Task, tmp_path: Path
) -> None:
    digest, size = wanted(completed)
    whole = client.download(completed, tmp_path / "whole", stems=["vocals"])["vocals"].read_bytes()
    part = tmp_path / "vocals.flac.part"
    left_behind = {
        "half": whole[: size // 2],
        "all": whole,
        "wrong": bytes(size // 2),
        "all wrong": bytes(size),
        "too much": whole + b"x",
    }
    for name, content in left_behind.items():
        part.write_bytes(content)
        way.asked.clear()
        assert sha256(client.download(completed, tmp_path, stems=["vocals"])["vocals"]) == digest, name
        assert not part.exists()
        asked = [request.headers.get("range") for request in way.requests(STEMS)]
        half = f"bytes={size // 2}-"
        assert asked == {"half": [half], "all": [], "wrong": [half, None]}.get(name, [None]), name


def test_what_is_damaged_is_fetched_once_more_and_then_refused(
    client: Client, way: FaultyWay, completed: Task, tmp_path: Path
) -> None:
    way.on(STEMS, spoil)
    assert sha256(client.download(completed, tmp_path, stems=["vocals"])["vocals"]) == wanted(completed)[0]
    way.on(STEMS, spoil, spoil)
    with pytest.raises(Damaged):
        client.download(completed, tmp_path / "other", stems=["vocals"])
    assert not (tmp_path / "other" / "vocals.flac").exists()


def test_a_download_that_gets_no_further_ends(client: Client, way: FaultyWay, completed: Task, tmp_path: Path) -> None:
    way.on(STEMS, *[cut_answer(0)] * 100)
    with pytest.raises(Unreachable):
        client.download(completed, tmp_path, stems=["vocals"])
    assert way.count(STEMS) <= HASTY.attempts**2
