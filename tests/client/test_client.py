"""The client against the service, over a way without faults: what it does, and what it says when refused."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import sys
from pathlib import Path

import pytest

from tests.client.conftest import HASTY
from tests.client.faulty_way import FaultyWay, refuse
from tests.service import InProcess, Person
from vocal_remover import (
    AsyncClient,
    Client,
    NotAllowed,
    NotCompleted,
    NotConfigured,
    NotFound,
    OutOfCredits,
    Progress,
    Refused,
    Result,
    TaskCancelled,
    TookTooLong,
    Unreachable,
    Unreadable,
)

PACKAGE = Path(__file__).resolve().parents[2] / "clients" / "python" / "vocal_remover"


def check(result: Result, told: list[Progress]) -> None:
    assert result.task.status == "completed"
    assert set(result.stems) == {"vocals", "accompaniment"}
    for stem in result.task.stems:
        path = result.stems[stem.name]
        assert path == result.folder / f"{stem.name}.flac"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == stem.sha256
    assert sorted(path.name for path in result.folder.iterdir()) == ["accompaniment.flac", "vocals.flac"]
    states = list(dict.fromkeys(progress.status for progress in told))
    assert [states[0], states[-2], states[-1]] == ["uploading", "completed", "downloading"]
    assert {"queued", "processing"} & set(states)
    assert all(0 <= progress.progress <= 1 for progress in told)


@pytest.mark.usefixtures("working")
def test_a_song_becomes_stems(client: Client, demo: Person, warmup: Path, tmp_path: Path) -> None:
    song = tmp_path / 'a "song" of ünicode.mp3'
    song.write_bytes(warmup.read_bytes())
    told: list[Progress] = []
    result = client.separate(song, on_progress=told.append, model="lite", format="flac")
    check(result, told)
    assert result.folder == song.with_suffix("")
    assert result.task.filename == song.name
    assert demo.money() == (9, 0)


def test_an_order_may_bring_a_webhook(client: Client, warmup: Path) -> None:
    song = client.upload(warmup)
    ordered = client.submit(song, webhook="https://example.com/hook")
    assert (ordered.webhook_secret or "").startswith("whsec_")
    own = f"whsec_{'A' * 32}"
    assert client.submit(song, webhook="https://example.com/hook", webhook_secret=own).webhook_secret == own
    with pytest.raises(Refused, match="https"):
        client.submit(song, webhook="http://example.com/hook")
    assert client.submit(song).webhook_secret is None


@pytest.mark.usefixtures("working")
def test_and_the_same_without_blocking(
    way: FaultyWay, demo: Person, warmup: Path, long_song: Path, tmp_path: Path
) -> None:
    told: list[Progress] = []

    async def run() -> tuple[Result, list[str]]:
        async with AsyncClient(way.url, demo.token, patience=HASTY) as client:
            result = await client.separate(
                warmup, into=tmp_path / "stems", on_progress=told.append, format="flac", duration=5
            )
            again = await client.submit(await client.upload(long_song))
            await client.cancel(again.id)
            return result, [task.id async for task in client.tasks(page_size=1)]

    result, listed = asyncio.run(run())
    check(result, told)
    assert len(listed) == 2
    assert listed[1] == result.task.id


def test_address_and_key_are_read_from_the_environment(demo: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotConfigured, match="VOCAL_REMOVER_KEY"):
        Client()
    monkeypatch.setenv("VOCAL_REMOVER_KEY", demo.token)
    with pytest.raises(NotConfigured, match="no address"):
        Client("example.org")
    monkeypatch.setenv("VOCAL_REMOVER_URL", f"{demo.client.base_url}")
    with Client() as client:
        assert client.credits().price == 1
    with Client(key="another") as client, pytest.raises(NotAllowed):
        client.credits()
    with Client(key="not\na header") as client, pytest.raises(NotConfigured):
        client.credits()


def test_refusals_are_errors_that_say_what_to_do(service: InProcess, client: Client, warmup: Path) -> None:
    unknown = "0198c5d2-7c1a-7d43-9b0e-6a1f0c9e2b11"
    with pytest.raises(NotFound) as missing:
        client.task(unknown)
    assert (missing.value.code, missing.value.status) == ("task_not_found", 404)
    assert missing.value.detail in str(missing.value)
    assert missing.value.advice in str(missing.value)
    assert missing.value.request_id is not None
    assert missing.value.request_id in str(missing.value)
    with pytest.raises(NotFound):
        client.task("../credits")  # an id can't leave its place
    with pytest.raises(Refused) as wrong:
        client.submit(unknown, gain_db=1000)
    assert [error["field"] for error in wrong.value.errors] == ["body.gain_db"]
    song = client.upload(warmup)
    for _ in range(10):
        client.submit(song)
    with pytest.raises(OutOfCredits):
        client.submit(song)


def test_what_is_no_song_is_refused_at_once(client: Client, way: FaultyWay, tmp_path: Path) -> None:
    for content, status in ((b"no song", 415), (b"", None)):
        (tmp_path / "x.mp3").write_bytes(content)
        with pytest.raises(Refused) as refused:
            client.upload(tmp_path / "x.mp3")
        assert refused.value.status == (status or refused.value.status)
        assert 400 <= refused.value.status < 500
    assert way.count("POST .*/uploads") == 2


def test_a_task_that_is_cancelled(client: Client, warmup: Path, tmp_path: Path) -> None:
    ordered = client.submit(client.upload(warmup))
    with pytest.raises(NotCompleted, match="queued"):
        client.download(ordered.id, tmp_path)
    with pytest.raises(TookTooLong):
        client.wait(ordered.id, timeout=0.2)
    assert client.cancel(ordered.id).status == "cancelled"
    with pytest.raises(TaskCancelled) as ended:
        client.wait(ordered.id)
    assert ended.value.task.id == ordered.id
    assert client.credits().balance == 10


def test_tasks_come_page_by_page(client: Client, way: FaultyWay, warmup: Path) -> None:
    song = client.upload(warmup)
    ids = [client.submit(song).id for _ in range(5)]
    assert [task.id for task in client.tasks(page_size=2)] == ids[::-1]
    assert way.count("GET .*/history") == 3
    client.cancel(ids[0])
    assert [task.id for task in client.tasks("cancelled")] == [ids[0]]


def test_nobody_there_and_somebody_else(way: FaultyWay, client: Client) -> None:
    way.on("GET .*/credits", refuse(302, Location="https://example.org/"), refuse(200))
    with pytest.raises(Refused, match=r"example\.org"):
        client.credits()
    with pytest.raises(Unreadable):
        client.credits()
    with Client("http://127.0.0.1:9", "key", patience=HASTY) as nobody, pytest.raises(Unreachable, match=":9"):
        nobody.credits()


def test_it_needs_nothing_but_httpx() -> None:
    allowed = {*sys.stdlib_module_names, "httpx", "vocal_remover"}
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert {name.split(".")[0] for name in names} <= allowed, path
