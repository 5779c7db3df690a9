"""Parts of a long song as rows: who takes which, what is kept, and that they go with their task; on both databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select, update

from backend import storage as keys
from backend.clock import database_now
from backend.models import Part, Task
from backend.part import service as parts
from backend.part.service import MOST_PARTS, SharedSong
from backend.task import leftovers, lifecycle
from backend.task.lifecycle import Claim
from tests.servers import on_both
from tests.service import InProcess, Person
from workers.help import help_out
from workers.sweep import Sweep

LEASE = 30.0


def shared_song(claim: Claim, fingerprint: str = "ours") -> SharedSong:
    return SharedSong(
        claim.task_id,
        claim.tenant_id,
        claim.source_name,
        claim.source_key,
        claim.source,
        claim.model,
        claim.options,
        fingerprint,
    )


@pytest.fixture
def led(service: InProcess, demo: Person, warmup: Path) -> Claim:
    """A task that `leader` has claimed."""
    demo.submit(demo.upload(warmup), model="lite")
    claim = lifecycle.claim(service.wiring.database, "leader", LEASE)
    assert claim is not None
    return claim


def plan(service: InProcess, claim: Claim, fingerprint: str = "ours", patches: int = 10, each: int = 3) -> parts.Plan:
    with service.wiring.database.write() as session:
        made = parts.plan(
            session, shared_song(claim, fingerprint), claim.step_id, claim.attempt, patches=patches, each=each
        )
    assert made is not None
    return made


def rows(service: InProcess, claim: Claim) -> list[Part]:
    with service.wiring.database.read() as session:
        return list(session.scalars(select(Part).where(Part.task_id == claim.task_id).order_by(Part.position)))


def enter(service: InProcess, claim: Claim, worker: str, *, leads: bool = False) -> Part | None:
    with service.wiring.database.write() as session:
        return parts.enter(session, shared_song(claim), worker, LEASE, leads=leads)


def renew(service: InProcess, part: Part, done: int) -> bool:
    with service.wiring.database.write() as session:
        return parts.renew(session, part, done, LEASE)


def expire(service: InProcess, part: Part) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(Part).where(Part.id == part.id).values(lease_until=database_now(-1)))


@pytest.mark.parametrize(
    ("drawn", "helper", "leader"),
    [
        ("wwwwwww", 0, 0),
        ("mwwwwww", 4, 4),
        ("mw", None, None),
        ("mww", 2, 2),
        ("cwww", 1, 1),
        ("mwcww", 3, 3),
        ("mwwwwcww", 3, 3),
        ("mf", None, 1),
        ("mfww", 2, 1),
        ("fff", None, 0),
        ("cmc", None, None),
        ("ccc", None, None),
    ],
)
def test_where_to_begin(drawn: str, helper: int | None, leader: int | None) -> None:
    """w waits, m is being made, c is complete, f waits after a failure."""
    status = {"w": "queued", "f": "queued", "m": "processing", "c": "completed"}
    row: Sequence[Part] = [
        Part(position=position, status=status[letter], failures=int(letter == "f"))
        for position, letter in enumerate(drawn)
    ]
    for leads, expected in ((False, helper), (True, leader)):
        found = parts.entry(row, leads=leads)
        assert (found.position if found else None) == expected


@on_both
def test_a_plan_covers_the_song_and_is_found_again(service: InProcess, led: Claim) -> None:
    made = plan(service, led)
    assert [(part.first_patch, part.patches) for part in made.parts] == [(0, 3), (3, 3), (6, 3), (9, None)]
    taken = enter(service, led, "leader", leads=True)
    assert taken is not None and renew(service, taken, 2)
    again = plan(service, led, each=5)
    assert [part.id for part in again.parts] == [part.id for part in made.parts]
    assert (again.kept, again.dropped) == (2, frozenset())
    other = plan(service, led, "theirs", patches=100_000, each=1)
    assert len(other.parts) <= MOST_PARTS and other.dropped == {"ours"} and other.kept == 0
    ends = [part.first_patch + (part.patches or 0) for part in other.parts]
    assert ends[:-1] == [part.first_patch for part in other.parts[1:]]
    assert not renew(service, taken, 3)


@on_both
def test_only_the_attempt_that_has_the_task_plans(service: InProcess, led: Claim) -> None:
    lifecycle.give_back(service.wiring.database, led, "worker_stopped")
    with service.wiring.database.write() as session:
        assert parts.plan(session, shared_song(led), led.step_id, led.attempt, patches=10, each=3) is None
    assert rows(service, led) == []


@on_both
def test_takers_at_once_never_get_the_same_part(service: InProcess, led: Claim) -> None:
    plan(service, led, patches=12, each=1)

    def take(worker: str) -> list[int]:
        taken = []
        while (part := enter(service, led, worker)) is not None:
            taken.append(part.position)
        return taken

    with ThreadPoolExecutor(4) as pool:
        found = Counter(position for each in pool.map(take, "abcd") for position in each)
    assert found and max(found.values()) == 1


@on_both
def test_going_on_completes_a_part_and_takes_the_next(service: InProcess, led: Claim) -> None:
    plan(service, led)
    song = shared_song(led)
    first = enter(service, led, "leader", leads=True)
    assert first is not None and first.position == 0
    with service.wiring.database.write() as session:
        second = parts.go_on(session, song, first, "leader", LEASE, leads=True)
        assert second is not None and second.position == 1
        assert parts.go_on(session, song, first, "leader", LEASE, leads=True) is None  # it was complete
    assert [(row.status, row.patches_done) for row in rows(service, led)][:2] == [("completed", 3), ("processing", 0)]
    with service.wiring.database.write() as session:
        parts.end(session, song, second, 1)
    assert {row.status for row in rows(service, led)} == {"completed"}
    assert sum(row.patches_done for row in rows(service, led)) == 4


@on_both
def test_a_silent_helper_s_part_is_left_to_the_leader(service: InProcess, led: Claim) -> None:
    plan(service, led, patches=4, each=2)
    lost = enter(service, led, "helper")
    assert lost is not None and renew(service, lost, 1)
    expire(service, lost)
    Sweep(service.wiring, "another").run(idle=0)
    row = rows(service, led)[lost.position]
    assert (row.status, row.failures, row.patches_done, row.worker) == ("queued", 1, 1, None)
    assert not renew(service, lost, 1)
    other = enter(service, led, "helper")
    assert other is not None and other.position != lost.position
    again = enter(service, led, "leader", leads=True)
    assert again is not None and (again.id, again.attempt, again.patches_done) == (lost.id, 2, 1)
    with service.wiring.database.write() as session:
        parts.give_back(session, lost, 0, failed=True)  # it comes late
    assert rows(service, led)[lost.position].patches_done == 1


@on_both
def test_a_failing_rescue_keeps_no_part_waiting(
    service: InProcess, led: Claim, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan(service, led)
    lost = enter(service, led, "helper")
    assert lost is not None
    expire(service, lost)
    with service.wiring.database.write() as session:
        session.execute(update(Task).values(lease_until=database_now(-1)))

    def fail(*_: object) -> None:
        raise ValueError("this one always")

    monkeypatch.setattr(lifecycle, "rescue_expired", fail)
    Sweep(service.wiring, "another").run(idle=0)
    assert rows(service, led)[lost.position].status == "queued"


@on_both
def test_a_part_of_which_all_is_kept_is_complete_when_entered(service: InProcess, led: Claim) -> None:
    """Its worker was told to stop while the database was away."""
    plan(service, led)
    held = enter(service, led, "leader", leads=True)
    assert held is not None and held.patches == 3
    with service.wiring.database.write() as session:
        parts.give_back(session, held, 3)
    following = enter(service, led, "leader", leads=True)
    assert following is not None and following.position == 1
    assert [(row.status, row.patches_done) for row in rows(service, led)][:2] == [("completed", 3), ("processing", 0)]


@on_both
def test_a_worker_that_starts_again_gives_its_parts_back(service: InProcess, led: Claim) -> None:
    plan(service, led)
    assert enter(service, led, "me") and enter(service, led, "you")
    Sweep(service.wiring, "me").start()
    assert [row.worker for row in rows(service, led) if row.status == "processing"] == ["you"]


@on_both
@pytest.mark.parametrize("end", ["complete", "fail", "cancel", "cancel queued", "requeue"])
def test_parts_go_when_their_task_ends(service: InProcess, demo: Person, led: Claim, end: str) -> None:
    plan(service, led)
    held = enter(service, led, "helper")
    assert held is not None
    kept = service.settings.data_dir / keys.parts_key(led.source_name, led.task_id, "ours", 0)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"samples")
    database = service.wiring.database
    match end:
        case "complete":
            assert lifecycle.complete(database, led, {}, [])
        case "fail":
            assert lifecycle.fail(database, led, "x", "y", transient=False, max_attempts=3) == "failed"
        case "requeue" | "cancel queued":
            lifecycle.give_back(database, led, "worker_stopped")
    if end.startswith("cancel"):
        assert demo.post(f"/tasks/{led.task_id}/cancel").status_code == 200
    if end == "requeue":
        assert len(rows(service, led)) == 4
        assert renew(service, held, 1)  # helpers go on while nobody leads
    else:
        assert rows(service, led) == []
        assert not renew(service, held, 1)
    assert kept.exists()  # whoever worked on it removes the files
    if end == "cancel queued":  # nobody does: then the sweep
        leftovers.remove(service.wiring)
        assert not kept.exists()


@on_both
def test_whom_a_song_can_use(service: InProcess, led: Claim) -> None:
    database = service.wiring.database

    def wanted(worker: str) -> list[UUID]:
        with database.read() as session:
            found = [song.task_id for song in parts.wanted(session, worker)]
            assert parts.count_wanted(session, worker) == len(found)
        return found

    assert wanted("helper") == []
    plan(service, led)
    assert wanted("helper") == [led.task_id]
    assert wanted("leader") == []
    assert enter(service, led, "helper")
    assert wanted("helper") == []
    assert wanted("another") == [led.task_id]
    lifecycle.give_back(database, led, "worker_stopped")
    assert wanted("another") == []


def test_nobody_helps_whose_samples_would_differ(service: InProcess, led: Claim) -> None:
    plan(service, led, "of another kind of worker")
    assert help_out(service.room, lambda: None) == (False, None)
    assert {row.status for row in rows(service, led)} == {"queued"}
    assert service.room.fingerprints
    with service.wiring.database.write() as session:
        session.execute(update(Part).values(fingerprint=service.room.fingerprints["lite", "mixture"]))
    assert help_out(service.room, lambda: None) == (True, None)
    assert {row.status for row in rows(service, led)} == {"completed"}


def test_who_can_not_help_says_so_once(service: InProcess, led: Claim) -> None:
    """Here the song is none any more, which is for the leader to tell."""
    assert help_out(service.room, lambda: None) == (False, None)
    plan(service, led)
    with service.room.separator("lite"):
        help_out(service.room, lambda: None)
    with service.wiring.database.write() as session:
        session.execute(update(Part).values(fingerprint=service.room.fingerprints["lite", "mixture"]))
    (service.settings.data_dir / led.source_key).write_bytes(b"no song")
    assert help_out(service.room, lambda: None) == (True, None)
    assert sorted(row.failures for row in rows(service, led)) == [0, 0, 0, 1]
    assert help_out(service.room, lambda: None) == (False, None)
