"""Files against rows: orphans are found and removed, nothing else is, whoever is at work meanwhile."""

from __future__ import annotations

import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner, Result

from backend.identity import new_id
from backend.inventory import service as inventory
from backend.inventory.service import FEW, GRACE, InventoryRefused
from backend.models import Upload
from backend.storage import Storage
from cli.storage import app
from tests.servers import on_both
from tests.service import InProcess, Person
from workers.orphans import Orphans

DAY = 86_400.0


def put(storage: Storage, key: str, days: float, content: bytes = b"nobody's") -> str:
    """A file that was written so long ago."""
    with storage.incoming() as folder:
        file = folder / "file"
        file.write_bytes(content)
        then = time.time() - days * DAY
        os.utime(file, (then, then))
        storage.adopt(file, key)
    return key


def song(file: Path, number: int) -> bytes:
    """With something at its end that makes it another file."""
    return file.read_bytes() + bytes(number + 1)


def found(service: InProcess, *, hashes: bool = False) -> dict[str, set[str]]:
    """Keys by what is said of them."""
    sorted_out: dict[str, set[str]] = {}
    for each in inventory.check(service.wiring.database, service.wiring.storage, hashes=hashes):
        sorted_out.setdefault(each.kind, set()).add(each.key)
    return sorted_out


def remove(service: InProcess, *, force: bool = False) -> set[str]:
    removed = inventory.remove_orphans(service.wiring.database, service.wiring.storage, force=force)
    return {each.key for each in removed}


@pytest.fixture
def owned(service: InProcess) -> InProcess:
    assert inventory.claim(service.wiring.database, service.wiring.storage)
    return service


def make_old(service: InProcess) -> None:
    """All files, by two days."""
    then = time.time() - 2 * DAY
    for room in ("uploads", "output"):
        for path in (service.settings.data_dir / room).rglob("*"):
            os.utime(path, (then, then))


@on_both
def test_each_file_is_told_by_the_rows(owned: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    done = demo.submit(upload_id, model="lite")
    assert owned.work()
    waiting = demo.submit(upload_id, model="lite")
    deleted = demo.upload(warmup, "deleted.mp3")
    assert demo.delete(f"/uploads/{deleted}").status_code in (200, 204)
    storage, tenant = owned.wiring.storage, owned.scope(demo).tenant_id
    named = {artifact.storage_key for artifact in owned.artifacts(done)}
    source = f"uploads/{tenant}/{upload_id}/source"
    folder = next(iter(named)).rpartition("/")[0].rpartition("/")[0]
    make_old(owned)
    orphans = {
        put(storage, f"uploads/{tenant}/{deleted}/source", 2),
        put(storage, f"uploads/{tenant}/{new_id()}/source", 2),
        put(storage, f"{folder}/7/vocals.wav", 2),
        put(storage, f"{folder}/parts/f/000001.f32", 2),
        put(storage, f"output/song/{new_id()}/1/vocals.wav", 2),
    }
    kept = {
        put(storage, f"output/song/{waiting}/1/vocals.wav", 2),
        put(storage, f"output/song/{waiting}/parts/f/000001.f32", 2),
    }
    young = put(storage, f"uploads/{tenant}/{new_id()}/source", 0)
    strange = {put(storage, "uploads/lost+found/1", 2), put(storage, f"output/song/{done}/notes", 2)}
    said = found(owned)
    assert said == {"named": named | {source} | kept, "orphan": orphans, "young": {young}, "strange": strange}
    assert remove(owned) == orphans
    assert found(owned) == {"named": named | {source} | kept, "young": {young}, "strange": strange}
    assert owned.work(), "the task that waited has all that it needs"


@on_both
def test_a_row_without_its_file_is_named(owned: InProcess, demo: Person, warmup: Path) -> None:
    lost, cut, whole, other = (demo.send(song(warmup, number)).json()["id"] for number in range(4))
    key = {each: f"uploads/{owned.scope(demo).tenant_id}/{each}/source" for each in (lost, cut, whole, other)}
    storage = owned.wiring.storage
    storage.delete(key[lost])
    put(storage, key[cut], 0, b"short")
    put(storage, key[other], 0, b"x" * len(song(warmup, 3)))
    assert found(owned)["lacking"] == {key[lost]}
    assert found(owned)["damaged"] == {key[cut]}
    assert found(owned, hashes=True)["damaged"] == {key[cut], key[other]}


@on_both
def test_nothing_is_removed_for_another_database(owned: InProcess, demo: Person, warmup: Path) -> None:
    """A new or an older database at the old files: every file looks like an orphan."""
    database, storage = owned.wiring.database, owned.wiring.storage
    put(storage, f"uploads/{new_id()}/{new_id()}/source", 2)
    before = found(owned)
    storage.delete(inventory.OWNER)
    with pytest.raises(InventoryRefused, match="no owner yet"):
        remove(owned)
    put(storage, inventory.OWNER, 0, json.dumps({"database": str(new_id())}).encode())
    with pytest.raises(InventoryRefused, match="VR_DB__URL"):
        remove(owned)
    assert inventory.claim(database, storage) is False, "it is not taken from another without a word"
    assert inventory.claim(database, storage, anew=True)
    orphans = {put(storage, f"uploads/{new_id()}/{new_id()}/source", 2) for _ in range(FEW)}
    with pytest.raises(InventoryRefused, match="older database"):
        remove(owned)
    assert found(owned)["orphan"] == before["orphan"] | orphans


def test_many_orphans_go_when_it_is_meant(owned: InProcess) -> None:
    orphans = {put(owned.wiring.storage, f"uploads/{new_id()}/{new_id()}/source", 2) for _ in range(FEW + 1)}
    assert remove(owned, force=True) == orphans


@on_both
def test_songs_that_come_meanwhile_stay(owned: InProcess, demo: Person, warmup: Path) -> None:
    """The row comes after the file, and the look is in between: nothing that was sent is lost."""
    stop = threading.Event()

    def look() -> int:
        looks = 0
        while not stop.is_set():
            looks, _ = looks + 1, remove(owned, force=True)
            assert "lacking" not in found(owned)
        return looks

    def send(number: int) -> str:
        answer = demo.send(song(warmup, number), f"{number}.mp3")
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(5) as pool:
        looking = pool.submit(look)
        try:
            sent = list(pool.map(send, range(12)))
        finally:
            stop.set()
        assert looking.result() > 1
    tenant = owned.scope(demo).tenant_id
    assert found(owned)["named"] == {f"uploads/{tenant}/{each}/source" for each in sent}


def test_a_deleted_row_that_was_being_looked_at_is_not_reported(owned: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.send(warmup).json()["id"]
    key = f"uploads/{owned.scope(demo).tenant_id}/{upload_id}/source"
    storage, listed = owned.wiring.storage, owned.wiring.storage.listed
    storage.delete(key)

    def late(prefix: str) -> object:
        with owned.wiring.database.write() as session:
            session.execute(update(Upload).values(deleted_at=Upload.created_at))
        return listed(prefix)

    storage.listed = late  # type: ignore[method-assign, assignment]
    assert "lacking" not in found(owned)


def test_workers_look_once_a_day_among_them_all(owned: InProcess) -> None:
    storage = owned.wiring.storage
    one, other = Orphans(owned.wiring), Orphans(owned.wiring)
    put(storage, f"uploads/{new_id()}/{new_id()}/source", 2)
    assert one.look_if_due() == 1
    put(storage, f"uploads/{new_id()}/{new_id()}/source", 2)
    assert other.look_if_due() == 0
    put(storage, inventory.LAST, 1.1, b"{}")
    assert other.look_if_due() == 1
    put(storage, inventory.OWNER, 0, json.dumps({"database": str(new_id())}).encode())
    put(storage, f"uploads/{new_id()}/{new_id()}/source", 2)
    put(storage, inventory.LAST, 1.1, b"{}")
    assert one.look_if_due() == 0, "refused, with a line in the log"


def test_a_large_storage_takes_no_more_memory(owned: InProcess) -> None:
    """Pages of both: the most that is held does not grow with their number. Other threads of this process are counted
    too, so the least of a few looks tells."""
    import tracemalloc

    def look(number: int) -> int:
        tracemalloc.start()
        try:
            assert sum(1 for _ in inventory.check(owned.wiring.database, owned.wiring.storage)) >= number
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    root = owned.settings.data_dir / "uploads"
    peaks = []
    for number in (1_000, 4_000):
        for _ in range(number):
            folder = root / str(new_id()) / str(new_id())
            folder.mkdir(parents=True)
            (folder / "source").touch()
        peaks.append(min(look(number) for _ in range(3)))
    assert peaks[1] < peaks[0] * 2.5, peaks


@pytest.fixture
def command(owned: InProcess, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("VR_DB__URL", owned.settings.database_url)
    monkeypatch.setenv("VR_DATA_DIR", str(owned.settings.data_dir))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)

    return run


def test_the_command(owned: InProcess, demo: Person, warmup: Path, command: object) -> None:
    assert callable(command)
    demo.upload(warmup)
    assert command("check").exit_code == 0
    key = put(owned.wiring.storage, f"uploads/{new_id()}/{new_id()}/source", 2)
    told = command("check")
    assert told.exit_code == 1 and f"orphan: {key}" in told.stdout
    lines = [json.loads(line) for line in command("check", "--json").stdout.splitlines()]
    assert lines[0] == {"kind": "orphan", "key": key, "size": 8}
    assert lines[-1]["sums"]["named"]["number"] == 1
    removed = command("check", "--remove")
    assert removed.exit_code == 0 and "Removed 1 orphans" in removed.stdout
    assert command("check", "--hours", "0").exit_code == 2, "never less than an hour"
    put(owned.wiring.storage, inventory.OWNER, 0, json.dumps({"database": str(new_id())}).encode())
    refused = command("check", "--remove")
    assert refused.exit_code == 1 and "storage claim" in refused.stderr
    assert command("claim", "--yes").exit_code == 0
    assert command("check", "--remove").exit_code == 0


def test_the_grace_is_longer_than_a_worker_waits() -> None:
    from workers.separate import PERSIST_SECONDS

    assert timedelta(seconds=10 * PERSIST_SECONDS) <= inventory.LEAST_GRACE
    assert GRACE > inventory.LEAST_GRACE
