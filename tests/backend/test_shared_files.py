"""Songs of the same content in a tenant share a file, which goes with the last of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select

from backend import removal
from backend.audit.service import COMMAND
from backend.erase import service as erase
from backend.models import Upload
from backend.task import retention
from backend.task import retention_repository as past
from backend.tenant import limits
from backend.upload import repository
from tests.colleagues import colleague
from tests.servers import on_both
from tests.service import InProcess, Person

pytestmark = on_both
AT_ONCE = 3


def sent(person: Person, song: Path, name: str = "song.mp3") -> str:
    answer = person.send(song, name)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def keys(service: InProcess, *uploads: str) -> list[str]:
    with service.wiring.database.read() as session:
        return [session.scalars(select(Upload.storage_key).where(Upload.id == UUID(each))).one() for each in uploads]


def stored_bytes(service: InProcess, person: Person) -> int:
    with service.wiring.database.read() as session:
        return limits.used(session, service.scope(person).tenant_id).stored_bytes


def test_one_file_in_a_tenant_and_none_between_tenants(
    service: InProcess, demo: Person, stranger: Person, warmup: Path
) -> None:
    mine, again = sent(demo, warmup), sent(demo, warmup, "again.mp3")
    other = colleague(service, demo, "colleague@example.com")
    theirs = sent(other, warmup)
    strange = sent(stranger, warmup)
    assert len({*keys(service, mine, again, theirs)}) == 1
    assert len(service.files("uploads", "incoming")) == 2 and keys(service, strange) != keys(service, mine)
    assert stored_bytes(service, demo) == stored_bytes(service, stranger) == warmup.stat().st_size
    assert [song["filename"] for song in demo.get("/uploads").json()] == ["again.mp3", "song.mp3"]

    task_id = demo.submit(again)
    assert demo.delete(f"/uploads/{mine}").status_code == 204
    assert service.work() and demo.task(task_id)["status"] == "completed", "its song was another's as well"
    assert demo.delete(f"/uploads/{again}").status_code == 204
    assert len(service.files("uploads")) == 2, "the colleague has it still"
    user_id = service.scope(other).user_id
    assert user_id is not None
    erase.erase_person(service.wiring, COMMAND, user_id)
    assert service.files("uploads", "leaving") == keys(service, strange)
    assert stored_bytes(service, demo) - sum(each.size for each in service.artifacts(task_id)) == 0


def test_many_at_once(service: InProcess, demo: Person, warmup: Path) -> None:
    """Sent together they are one file, deleted together they are none."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        uploads = list(pool.map(lambda n: sent(demo, warmup, f"{n}.mp3"), range(AT_ONCE)))
        assert len({*keys(service, *uploads)}) == 1 and len(service.files("uploads", "incoming")) == 1
        statuses = list(pool.map(lambda each: demo.delete(f"/uploads/{each}").status_code, uploads))
    assert statuses == [204] * AT_ONCE and service.files("uploads") == []


@pytest.mark.parametrize("moment", ["before the row is written", "before it is looked for"])
def test_deleted_while_the_same_song_arrives(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Whichever of the two is first: the new row has its file."""
    first = sent(demo, warmup)
    name = "add" if moment == "before the row is written" else "twin"
    step, deleting = getattr(repository, name), threading.Event()
    statuses: list[int] = []

    def delete() -> None:
        deleting.set()
        statuses.append(demo.delete(f"/uploads/{first}").status_code)

    thread = threading.Thread(target=delete)
    looks = 0

    def meanwhile(*args: Any) -> Any:
        nonlocal looks
        looks += 1
        # The first look only asks whether there is room; it holds nothing.
        if looks == (1 if name == "add" else 2):
            thread.start()
            deleting.wait()
            thread.join(0.5)  # it waits for us, or is done
        return step(*args)

    monkeypatch.setattr(repository, name, meanwhile)
    second = sent(demo, warmup, "again.mp3")
    thread.join()
    assert statuses == [204]
    (song,) = demo.get("/uploads").json()
    assert song["id"] == second
    assert service.files("uploads", "incoming") == keys(service, second)


def test_a_commit_that_fails_takes_no_other_s_file(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no")

    with monkeypatch.context() as broken:
        broken.setattr(repository, "add", fail)
        assert demo.send(warmup).status_code == 500
        assert service.files("uploads", "incoming") == []
    upload_id = sent(demo, warmup)
    with monkeypatch.context() as broken:
        broken.setattr(repository, "add", fail)
        assert demo.send(warmup).status_code == 500
    assert service.files("uploads", "incoming") == keys(service, upload_id)


def test_a_list_of_what_goes_spares_what_others_have(service: InProcess, demo: Person, warmup: Path) -> None:
    """Retention and erasure, and the sweep after them."""
    first, second = sent(demo, warmup), sent(demo, warmup)
    (key,) = {*keys(service, first, second)}
    for upload_id, left in ((second, [key]), (first, [])):
        removal.announce(service.wiring.storage, {}, {UUID(upload_id): key})
        with service.wiring.database.write() as session:
            past.mark_deleted(session, [], [UUID(upload_id)])
        retention.go_on(service.wiring)
        assert service.files("uploads") == left and service.files("leaving") == []


def test_samples_are_nobody_s_to_share(service: InProcess, demo: Person, warmup: Path) -> None:
    """A song of the sample library, sent by hand, is a file of the tenant's own."""
    assert demo.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
    upload_id = sent(demo, warmup)
    assert service.files("uploads") == keys(service, upload_id)


@pytest.mark.parametrize("left", [None, b"half of it"])
def test_a_file_that_was_lost_is_put_there_again(
    service: InProcess, demo: Person, warmup: Path, left: bytes | None
) -> None:
    """Who sends its song again heals the rows that had it."""
    first, second = sent(demo, warmup), sent(demo, warmup)
    path = service.path(*{*keys(service, first, second)})
    path.unlink()
    if left is not None:
        path.write_bytes(left)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        again = list(pool.map(lambda n: sent(demo, warmup, f"{n}.mp3"), range(AT_ONCE)))
    (key,) = {*keys(service, first, second, *again)}
    assert service.files("uploads", "incoming") == [key]
    assert service.path(key).read_bytes() == warmup.read_bytes()
    assert stored_bytes(service, demo) == warmup.stat().st_size
    task_id = demo.submit(first)
    assert service.work() and demo.task(task_id)["status"] == "completed"
