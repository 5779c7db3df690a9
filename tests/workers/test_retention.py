"""Songs and results that are kept for so long and no longer; and files that a process which died has left behind."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import select, update

from backend import removal
from backend.audit.service import COMMAND
from backend.clock import utc_now
from backend.identity import first_id
from backend.models import AuditEntry, Task, Tenant, Upload
from backend.models.task import TaskStatus
from backend.storage import upload_key
from backend.task import retention
from backend.tenant import limits, suspension
from backend.tenant.limits import Limits
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.walking import walk
from workers.tidy import Tidy

pytestmark = on_both
DAY = 86_400.0


class Past:
    """Things of a person that are some days old: ids tell the time as well as the columns do."""

    def __init__(self, service: InProcess, person: Person, song: Path) -> None:
        self._service, self._person, self._song = service, person, song
        self._scope = service.scope(person)
        self._count = 0

    def upload(self, days: float) -> str:
        upload_id, old = UUID(self._person.upload(self._song)), self._old(days)
        key = upload_key(self._scope.tenant_id, old)
        self._service.wiring.storage.adopt(self._service.path(upload_key(self._scope.tenant_id, upload_id)), key)
        with self._service.wiring.database.write() as session:
            values = {"id": old, "storage_key": key, "created_at": utc_now() - timedelta(days=days)}
            session.execute(update(Upload).where(Upload.id == upload_id).values(values))
        return str(old)

    def task(self, upload_id: str, days: float, status: TaskStatus = "completed") -> str:
        """With a file in its place."""
        task_id, at = self._old(days), utc_now() - timedelta(days=days)
        with self._service.wiring.database.write() as session:
            session.add(
                Task(
                    id=task_id,
                    tenant_id=self._scope.tenant_id,
                    user_id=self._scope.user_id,
                    price=0,
                    seconds=10,
                    upload_id=UUID(upload_id),
                    source_name="song.mp3",
                    created_at=at,
                )
            )
            session.flush()
            walk(session, task_id, status, finished_at=at)
        stem = self._service.path(f"output/song/{task_id}/1/vocals.wav")
        stem.parent.mkdir(parents=True)
        stem.write_bytes(b"RIFF")
        return str(task_id)

    def _old(self, days: float) -> UUID:
        self._count += 1
        return UUID(int=first_id(utc_now() - timedelta(days=days)).int + self._count)


def wish(service: InProcess, person: Person, days: int | None) -> UUID:
    tenant_id = service.scope(person).tenant_id
    with service.wiring.database.write() as session:
        session.execute(update(Tenant).where(Tenant.id == tenant_id).values(retention_days=days))
    return tenant_id


def kept(service: InProcess) -> set[str]:
    with service.wiring.database.read() as session:
        return {
            str(row)
            for table in (Task, Upload)
            for row in session.scalars(select(table.id).where(table.deleted_at.is_(None)))
        }


def filed(service: InProcess) -> set[str]:
    """Ids in the paths of files."""
    return {path.split("/")[2] for path in service.files("uploads", "output")}


def applied(service: InProcess) -> list[tuple[UUID | None, dict[str, int]]]:
    with service.wiring.database.read() as session:
        entries = session.scalars(
            select(AuditEntry).where(AuditEntry.action == "retention.applied", AuditEntry.actor_kind == "service")
        )
        return [(entry.tenant_id, entry.after or {}) for entry in entries]


def test_the_shorter_time_counts_and_unfinished_tasks_stay(make_service: MakeService, warmup: Path) -> None:
    service = make_service(tenant={"retention_days": 30})
    mine, others = service.login(), service.register("other@example.com")
    past, foreign = Past(service, mine, warmup), Past(service, others, warmup)
    tenant_id = wish(service, mine, 7)
    old, needed, young = past.upload(8), past.upload(9), past.upload(6)
    done, failed = past.task(old, 8), past.task(old, 8, "failed")
    waits, late = past.task(needed, 9, "queued"), past.task(young, 6)
    theirs, ancient = foreign.upload(8), foreign.upload(31)
    assert filed(service) == kept(service)
    Tidy(service.wiring).run()
    assert kept(service) == filed(service) == {needed, young, waits, late, theirs}
    assert {done, failed, old, ancient}.isdisjoint(kept(service))
    assert applied(service) == [
        (tenant_id, {"days": 7, "tasks": 2, "uploads": 1}),
        (service.scope(others).tenant_id, {"days": 30, "tasks": 0, "uploads": 1}),
    ]
    assert mine.get(f"/tasks/{done}").status_code == 404
    assert service.files("leaving") == []


def test_the_operator_may_allow_less_than_a_tenant_wants(service: InProcess, demo: Person, warmup: Path) -> None:
    past = Past(service, demo, warmup)
    upload_id = past.upload(8)
    tenant_id = wish(service, demo, 90)
    assert retention.apply(service.wiring) is False and upload_id in kept(service)
    with service.wiring.database.write() as session:
        limits.set(session, COMMAND, tenant_id, Limits(retention_days=7))
        suspension.suspend(session, COMMAND, tenant_id, "a question of law")
    assert retention.apply(service.wiring) is False and upload_id in kept(service)
    with service.wiring.database.write() as session:
        suspension.resume(session, COMMAND, tenant_id)
    assert retention.apply(service.wiring) is False and upload_id not in kept(service)


def test_many_hosts_take_some_each_and_none_twice(service: InProcess, demo: Person, warmup: Path) -> None:
    past = Past(service, demo, warmup)
    wish(service, demo, 7)
    upload_id = past.upload(1)
    tasks = {past.task(upload_id, 8 + number) for number in range(12)}
    assert retention.apply(service.wiring, at_once=3) is True
    assert len(tasks & kept(service)) == 9
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: retention.apply(service.wiring, at_once=3), range(4)))
    while retention.apply(service.wiring, at_once=3):
        pass
    assert kept(service) == filed(service) == {upload_id}
    assert sum(after["tasks"] for _, after in applied(service)) == 12


def test_what_a_dying_process_left_is_swept(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the commit and the files; and one that wrote its list and never committed loses nothing."""
    past = Past(service, demo, warmup)
    wish(service, demo, 7)
    gone = past.task(past.upload(8), 8)

    class Died(BaseException):
        pass

    def die(*_: Any) -> bool:
        raise Died

    with monkeypatch.context() as dying:
        dying.setattr(removal, "finish", die)
        with pytest.raises(Died):
            retention.apply(service.wiring)
    stays = past.upload(1)
    key = upload_key(service.scope(demo).tenant_id, UUID(stays))
    removal.announce(service.wiring.storage, {}, {UUID(stays): key})
    song = service.path(key)
    assert gone in filed(service) and gone not in kept(service)
    Tidy(service.wiring).run()
    assert gone not in filed(service)
    assert kept(service) == {stays} and song.is_file() and len(service.files("leaving")) == 1
    (listed,) = service.settings.data_dir.glob("leaving/*.json")
    os.utime(listed, times=(time.time() - 2 * DAY,) * 2)
    Tidy(service.wiring).run()
    assert song.is_file() and service.files("leaving") == []
