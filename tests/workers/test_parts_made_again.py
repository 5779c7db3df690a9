"""What was kept of a long song and is gone, damaged, or in silent hands, is made again, and no attempt has failed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url, select, update
from sqlalchemy.orm import make_transient

from backend import storage as keys
from backend.clock import database_now
from backend.models import Part
from backend.part import service as parts
from backend.part.service import SharedSong
from backend.task import leftovers, lifecycle
from backend.task.lifecycle import Claim
from bench.song import write_song
from engine.audio_io import DecodeLimits
from engine.errors import SeparationCancelled
from engine.formats import OutputFormat
from engine.parts import fingerprint
from engine.separate import separate
from engine.sink import DirectorySink
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.workers.test_life_of_a_task import wait_for
from workers import lead
from workers.lease import Lease
from workers.sweep import Sweep

SECONDS = 70.0
PATCHES = 4
"""Of `lite`, 20 s each, two in a part."""
LEASE = 30.0


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_song(tmp_path_factory.mktemp("songs") / "long.mp3", SECONDS)


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service(worker={"shared_seconds": 30, "part_seconds": 40, "renew_seconds": 0.1})


@pytest.fixture
def task_id(service: InProcess, demo: Person, song: Path) -> str:
    return demo.submit(demo.upload(song), model="lite")


def claimed(service: InProcess) -> Claim:
    claim = lifecycle.claim(service.wiring.database, "former", LEASE)
    assert claim is not None
    return claim


def planned(service: InProcess, claim: Claim, print_: str | None = None) -> tuple[SharedSong, parts.Plan]:
    """As a worker of this kind plans it, or one of another."""
    with service.room.separator("lite") as separator:
        own = print_ or fingerprint(separator, "mixture")
    facts = claim.task_id, claim.tenant_id, claim.source_name, claim.source_key, claim.source, claim.model
    song = SharedSong(*facts, claim.options, own)
    with service.wiring.database.write() as session:
        plan = parts.plan(session, song, claim.step_id, claim.attempt, patches=PATCHES, each=2)
    assert plan is not None
    return song, plan


def put(service: InProcess, song: SharedSong, patch: int) -> Path:
    file = service.path(keys.parts_key(song.source_name, song.task_id, song.fingerprint, patch))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"samples")
    return file


def finish(service: InProcess, person: Person, task_id: str) -> dict[str, int]:
    """By this worker alone, and without a sweep; what the receipt says of its parts."""
    assert service.work()
    view = person.task(task_id)
    assert (view["status"], service.row(task_id).failures) == ("completed", 0), view
    assert not [key for key in service.files("output") if "/parts/" in key]
    told: dict[str, int] = view["receipt"]["parts"]
    assert told["patches"] == PATCHES
    return told


@contextmanager
def led(service: InProcess) -> Iterator[tuple[Claim, Lease]]:
    claim = claimed(service)
    with Lease(service.wiring.database, claim, service.settings.worker, lambda: False) as lease:
        yield claim, lease


def test_rows_may_count_patches_that_are_gone(service: InProcess, demo: Person, task_id: str) -> None:
    """Those of the first part, and one of two of the other; then all."""
    claim = claimed(service)
    song, _ = planned(service, claim)
    with service.wiring.database.write() as session:
        session.execute(update(Part).values(status="completed", patches_done=2))
    there = put(service, song, 2)
    lifecycle.give_back(service.wiring.database, claim, "worker_stopped")
    with led(service) as (again, lease):
        plan = lead.checked(service.room, song, again, lease, planned(service, again)[1])
        assert [(part.status, part.patches_done) for part in plan.parts] == [("queued", 0), ("queued", 1)]
        assert plan.kept == 1
        lifecycle.give_back(service.wiring.database, again, "worker_stopped")
    there.unlink()
    assert finish(service, demo, task_id)["resumed_patches"] == 0


def test_a_patch_that_is_damaged_once_is_made_again(
    service: InProcess, demo: Person, task_id: str, song: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = spoil(service, monkeypatch, 1)
    finish(service, demo, task_id)
    assert len(spoilt) == 1
    sink = DirectorySink(tmp_path, OutputFormat("wav"))
    with service.room.separator("lite") as separator:
        separate(song, separator, sink, limits=DecodeLimits())
    for stem in demo.task(task_id)["stems"]:
        assert Path(stem["path"]).read_bytes() == sink.path(stem["name"]).read_bytes(), stem["name"]


def test_a_patch_that_is_damaged_twice_is_a_failure(
    service: InProcess, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoilt = spoil(service, monkeypatch, 2)
    assert service.work()
    row = service.row(task_id)
    assert (row.status, row.failures, len(spoilt)) == ("queued", 1, 2)
    assert service.events(task_id)[-1].data == {"reason": "patch_corrupt"}


def spoil(service: InProcess, monkeypatch: pytest.MonkeyPatch, times: int) -> list[str]:
    """The second patch, as often as it is kept, up to so many times."""
    storage, spoilt = type(service.room.wiring.storage), list[str]()
    adopt = storage.adopt

    def adopts(own: Any, file: Path, key: str) -> None:
        if key.endswith("000001.f32") and len(spoilt) < times:
            spoilt.append(key)
            file.write_bytes(file.read_bytes()[:-1])
        adopt(own, file, key)

    monkeypatch.setattr(storage, "adopt", adopts)
    return spoilt


def test_a_paused_leader_leaves_its_successor_s_patches(service: InProcess, demo: Person, task_id: str) -> None:
    first = claimed(service)
    theirs, _ = planned(service, first, "theirs")
    lifecycle.give_back(service.wiring.database, first, "worker_stopped")
    with led(service) as (paused, lease):
        ours, plan = planned(service, paused)
        assert plan.dropped == {"theirs"}
        put(service, theirs, 0)
        lead.drop(service.room, ours, paused, lease, plan)
        assert service.files("output") == []

        lifecycle.give_back(service.wiring.database, paused, "worker_stopped")
        planned(service, claimed(service), "theirs")
        kept = put(service, theirs, 0)
        with pytest.raises(SeparationCancelled):
            lead.drop(service.room, ours, paused, lease, plan)
        assert kept.exists()


def test_a_leader_waits_for_nobody_who_is_silent(service: InProcess, demo: Person, task_id: str) -> None:
    claim = claimed(service)
    planned(service, claim)
    with service.wiring.database.write() as session:
        late = {"status": "processing", "worker": "ghost", "attempt": 1, "lease_until": database_now(-1)}
        session.execute(update(Part).where(Part.position == 0).values(**late))
    lifecycle.give_back(service.wiring.database, claim, "worker_stopped")
    assert finish(service, demo, task_id)["workers"] == 2


def test_whoever_helps_holds_a_task_from_its_claim_on(
    service: InProcess, demo: Person, song: Path, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last patch takes long to be kept: the lease is renewed meanwhile."""
    demo.submit(demo.upload(song), model="lite")
    planned(service, claimed(service))
    upload, short = demo.upload(warmup), list[str]()
    storage = type(service.room.wiring.storage)
    adopt = storage.adopt

    def renewed() -> None:
        until = service.row(short[0]).lease_until
        wait_for(lambda: service.row(short[0]).lease_until != until)

    def adopts(own: Any, file: Path, key: str) -> None:
        if not short:
            short.append(demo.submit(upload))
            wait_for(lambda: service.row(short[0]).status == "processing")
            for _ in range(5):
                renewed()
                Sweep(service.wiring, "another").run(idle=0)
        adopt(own, file, key)

    monkeypatch.setattr(storage, "adopt", adopts)
    assert service.work()
    row = service.row(short[0])
    assert (row.status, row.attempt, row.failures) == ("completed", 1, 0)
    with service.wiring.database.read() as session:
        assert [part.patches_done for part in session.scalars(select(Part).order_by(Part.position))] == [1, 0]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_plan_waits_for_the_database(
    service: InProcess, demo: Person, task_id: str, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make_url(service.settings.database_url).database
    back: list[threading.Timer] = []

    def admit(whom: bool) -> None:
        with psycopg.connect(postgres_server, autocommit=True) as server:
            statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            server.execute(statement.format(sql.Identifier(str(name)), sql.Literal(whom)))
            server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])

    def leave(*args: Any) -> str:
        if not back:
            admit(False)
            back.append(threading.Timer(2, admit, [True]))
            back[0].start()
        return fingerprint(*args)

    monkeypatch.setattr(lead, "fingerprint", leave)
    try:
        assert service.work()
    finally:
        back[0].join()
    row = service.row(task_id)
    assert (row.status, row.attempt, row.failures) == ("completed", 1, 0)


@on_both
def test_what_a_worker_killed_at_the_end_leaves_of_a_first_attempt(service: InProcess, task_id: str) -> None:
    """The patches, after the commit; and rows, if it was of a release that knew of none."""
    claim = claimed(service)
    song, plan = planned(service, claim, "ours")
    put(service, song, 0)
    stem = keys.output_key(claim.source_name, claim.task_id, 1, "vocals.wav")
    service.path(stem).parent.mkdir()
    service.path(stem).write_bytes(b"RIFF")
    assert lifecycle.complete(service.wiring.database, claim, {lifecycle.PARTS: {"ranges": 2}}, [])
    with service.wiring.database.write() as session:
        for row in plan.parts:
            make_transient(row)
            session.add(row)
    leftovers.remove(service.wiring)
    assert service.files("output") == [stem]
    with service.wiring.database.read() as session:
        assert session.scalars(select(Part)).all() == []
