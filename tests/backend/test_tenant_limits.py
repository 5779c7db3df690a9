"""What a tenant may use: its own limits, on both databases and when several ask at once; and suspension."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import select, update

from backend.audit.service import COMMAND
from backend.clock import database_now
from backend.line import service as line
from backend.models import AuditEntry, Pace, Task, Tenant
from backend.task import lifecycle
from backend.task.lifecycle import Claim
from backend.tenant import limits, suspension
from backend.tenant.limits import LimitRefused, Limits, TenantUnknown
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

Done = TypeVar("Done")
SECONDS = 10.9
"""Of the song."""


def allow(service: InProcess, person: Person, **values: float | str | None) -> UUID:
    tenant_id = service.scope(person).tenant_id
    with service.wiring.database.write() as session:
        limits.set(session, COMMAND, tenant_id, Limits(**values))  # type: ignore[arg-type]
    return tenant_id


def take(service: InProcess, worker: str = "somebody", concurrent: int | None = None) -> Claim | None:
    return lifecycle.claim(service.wiring.database, worker, 3000, concurrent=concurrent)


def at_once(count: int, act: Callable[[int], Done]) -> list[Done]:
    together = threading.Barrier(count)

    def one(number: int) -> Done:
        together.wait()
        return act(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def end(service: InProcess, claim: Claim) -> None:
    assert lifecycle.complete(service.wiring.database, claim, {}, [])


@on_both
def test_no_more_of_a_tenant_run_at_once_than_it_may(
    service: InProcess, demo: Person, stranger: Person, warmup: Path
) -> None:
    """Workers that all ask at the same moment: never one too many, and the others' tasks go on."""
    allow(service, demo, concurrent_tasks=2)
    for _ in range(7):
        demo.submit(demo.upload(warmup))
    others = stranger.submit(stranger.upload(warmup))
    claims = [claim for claim in at_once(6, lambda n: take(service, f"worker{n}")) if claim]
    while (claim := take(service)) is not None:
        claims.append(claim)
    taken = [str(claim.task_id) for claim in claims]
    assert others in taken and len(taken) == 3
    with service.wiring.database.read() as session:
        assert lifecycle.ready(session) == 0
    mine = [claim for claim in claims if str(claim.task_id) != others]
    end(service, mine[0])
    with service.wiring.database.read() as session:
        assert lifecycle.ready(session) == 1
    assert take(service) is not None
    assert take(service) is None


@on_both
def test_the_setting_holds_where_the_operator_said_nothing(
    service: InProcess, demo: Person, stranger: Person, warmup: Path
) -> None:
    allow(service, demo, concurrent_tasks=2)
    for person in (demo, stranger):
        for _ in range(3):
            person.submit(person.upload(warmup))
    taken = [claim.tenant_id for claim in iter(lambda: take(service, concurrent=1), None)]
    assert sorted(map(taken.count, set(taken))) == [1, 2]
    assert taken.count(service.scope(demo).tenant_id) == 2


def test_who_waits_for_their_own_tasks_is_told_a_longer_time(service: InProcess, demo: Person, warmup: Path) -> None:
    with service.wiring.database.write() as session:
        session.add(Pace(model="lite", audio_seconds=100, work_seconds=10))
    tasks = [service.row(demo.submit(demo.upload(warmup))) for _ in range(3)]
    one = tasks[0].seconds / 10
    assert take(service)
    for concurrent, before in ((None, 2 / 4), (2, 2 / 2), (1, 2)):
        with service.wiring.database.read() as session:
            place, eta = line.forecast(session, tasks[2], "lite", line.outlook(session, {}, concurrent), 4)
        assert place == 1 and eta == pytest.approx(one * before + one)


@on_both
def test_minutes_of_audio_are_counted_exactly(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    seconds = service.row(demo.submit(upload_id)).seconds
    assert seconds == pytest.approx(SECONDS, abs=0.1)
    allow(service, demo, monthly_seconds=3 * seconds + 0.1)
    answers = at_once(5, lambda _: demo.post("/separate", {"upload_id": upload_id}))
    assert sorted(answer.status_code for answer in answers) == [202, 202, 429, 429, 429]
    refused = next(answer for answer in answers if answer.status_code == 429)
    body = refused.json()
    assert body["code"] == "audio_minutes_used_up"
    used, allowed = f"{3 * seconds / 60:.2f}", f"{(3 * seconds + 0.1) / 60:.2f}"
    assert f"{used} of your tenant's {allowed} minutes" in body["detail"]
    now = datetime.now(UTC)
    first = (now.replace(day=1, hour=0, minute=0, second=0) + timedelta(days=32)).replace(day=1)
    assert int(refused.headers["retry-after"]) == pytest.approx((first - now).total_seconds(), abs=60)
    assert demo.money() == (7, 3)

    task_ids = [row["task_id"] for row in demo.get("/history").json()]
    assert demo.post(f"/tasks/{task_ids[0]}/cancel").status_code == 200  # is given back
    assert demo.post(f"/tasks/{task_ids[0]}/retry").status_code == 202
    assert demo.post("/separate", {"upload_id": upload_id, "duration": 1}).status_code == 429
    with service.wiring.database.write() as session:  # another month is another count
        last = {"created_at": database_now(-32 * 86_400)}
        session.execute(update(Task).where(Task.id == UUID(task_ids[1])).values(last))
    assert demo.post("/separate", {"upload_id": upload_id}).status_code == 202


@on_both
def test_room_for_songs_and_results(service: InProcess, demo: Person, warmup: Path) -> None:
    songs = [warmup.read_bytes() + bytes([n]) for n in range(3)]  # of one content they would share a file
    size = len(songs[0])
    tenant_id = allow(service, demo, storage_bytes=2 * size + 10)
    answers = at_once(3, lambda n: demo.send(songs[n]))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 413]
    assert [answer.json()["code"] for answer in answers if answer.status_code == 413] == ["storage_used_up"]
    assert len(service.files("uploads", "incoming")) == 2
    first, second = (answer.json()["id"] for answer in answers if answer.status_code == 201)
    task_id = demo.submit(first)
    assert service.work() and demo.task(task_id)["status"] == "completed"  # what was taken is finished
    for refused in (demo.post("/separate", {"upload_id": first}), demo.send(b"RIFF")):
        assert (refused.status_code, refused.json()["code"]) == (413, "storage_used_up")
    with service.wiring.database.read() as session:
        results = sum(artifact.size for artifact in service.artifacts(task_id))
        assert limits.used(session, tenant_id).stored_bytes == 2 * size + results
    for path in (f"/tasks/{task_id}", f"/uploads/{second}"):
        assert demo.delete(path).status_code == 204
    assert demo.post("/separate", {"upload_id": first}).status_code == 202


def test_requests_of_a_tenant_that_has_a_limit_of_its_own(service: InProcess, demo: Person, stranger: Person) -> None:
    allow(service, demo, requests="3 per hour")
    assert [demo.get("/me").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert stranger.get("/me").status_code == 200


def test_limits_are_written_down(make_service: MakeService) -> None:
    service = make_service(tenant={"concurrent_tasks": 4, "monthly_minutes": 2, "retention_days": 0})
    tenant_id = allow(service, service.login(), concurrent_tasks=2)
    settings = service.wiring.settings
    with service.wiring.database.write() as session:
        limits.set(session, COMMAND, tenant_id, Limits(storage_bytes=5), "asked for it")
        assert limits.get(session, tenant_id) == Limits(storage_bytes=5)
        force = limits.in_force(session, settings, tenant_id)
        assert (force.concurrent_tasks, force.monthly_seconds, force.storage_bytes) == (4, 120, 5)
        assert force.retention_days is None and force.requests == settings.limit.tenant
        entries = session.scalars(select(AuditEntry).where(AuditEntry.tenant_id == tenant_id).order_by(AuditEntry.id))
        changes = [(each.before, each.after, each.reason) for each in entries if "limits" in each.action]
        rates = [Limits(requests=rate) for rate in ("often", "0 per minute", "5 per 0 minutes", "9 per 10000 years")]
        for wrong in (*rates, Limits(concurrent_tasks=0), Limits(storage_bytes=-1)):
            with pytest.raises(LimitRefused):
                limits.set(session, COMMAND, tenant_id, wrong)
        with pytest.raises(TenantUnknown):
            limits.set(session, COMMAND, UUID(int=1), Limits())
    nothing = dict.fromkeys(Limits.__slots__)
    one, other = nothing | {"concurrent_tasks": 2}, nothing | {"storage_bytes": 5}
    assert changes == [(nothing, one, None), (one, other, "asked for it")]


@on_both
def test_a_suspended_tenant_waits_and_loses_nothing(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    done, runs, waits = (demo.submit(upload_id) for _ in range(3))
    assert service.work()
    link = demo.task(done)["stems"][0]["url"]
    assert demo.client.get(link).status_code == 200
    running = take(service)
    assert running is not None and str(running.task_id) == runs
    key = demo.post("/keys", {"name": "k", "scopes": ["read"]}).json()["key"]
    tenant_id = service.scope(demo).tenant_id
    ended = threading.Event()

    def listen() -> None:
        with demo.client.stream("GET", f"/api/v1/tasks/{waits}/events", headers=demo.headers) as stream:
            for _ in stream.iter_lines():
                pass
        ended.set()

    listener = threading.Thread(target=listen)
    listener.start()
    with service.wiring.database.write() as session:
        suspension.suspend(session, COMMAND, tenant_id, "did not pay")
    for headers in (demo.headers, {"Authorization": f"Key {key}"}):
        answer = demo.client.get("/api/v1/me", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")
    assert demo.client.get(link).status_code == 401
    listener.join(30)
    assert ended.is_set()
    assert take(service) is None
    end(service, running)  # what ran is finished
    with service.wiring.database.read() as session:
        assert lifecycle.ready(session) == 0
        assert session.get_one(Tenant, tenant_id).suspended_reason == "did not pay"
    with service.wiring.database.write() as session:
        suspension.resume(session, COMMAND, tenant_id, "paid")
        suspension.resume(session, COMMAND, tenant_id)  # changes nothing
        entries = session.scalars(select(AuditEntry).where(AuditEntry.tenant_id == tenant_id).order_by(AuditEntry.id))
        acts = [(entry.action, entry.reason) for entry in entries if entry.action.startswith("tenant.")]
    assert acts == [("tenant.suspended", "did not pay"), ("tenant.resumed", "paid")]
    assert demo.task(waits)["status"] == "queued"
    assert demo.client.get(link).status_code == 200
    claim = take(service)
    assert claim is not None and str(claim.task_id) == waits
