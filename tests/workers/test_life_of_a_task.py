"""Claims, leases, rescues: one task, one result, one payment, whoever dies or comes late; on both databases."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import update

from backend.clock import database_now
from backend.models import Task
from backend.problem import Problem
from backend.task import lifecycle
from backend.task import service as tasks
from backend.task.lifecycle import Claim
from backend.task.order import Order
from backend.upload import service as uploads
from engine.sink import DirectorySink
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from workers.sweep import Sweep

pytestmark = on_both
LEASE = 30.0
ATTEMPTS = 3


def claim(service: InProcess, worker: str = "somebody") -> Claim | None:
    return lifecycle.claim(service.wiring.database, worker, LEASE)


def expire(service: InProcess, task_id: str) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(Task).where(Task.id == UUID(task_id)).values(lease_until=database_now(-1)))


def kinds(service: InProcess, task_id: str) -> list[str]:
    """Of its events; they are numbered from 1 without a gap."""
    events = service.events(task_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert service.row(task_id).last_event == len(events)
    return [event.kind for event in events]


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.01)


@contextmanager
def working(service: InProcess) -> Iterator[None]:
    """A worker at work in the background, until it has finished one task."""
    service.room.warm_up()
    thread = threading.Thread(target=service.work)
    thread.start()
    try:
        yield
    finally:
        thread.join(90)
        assert not thread.is_alive()


@pytest.fixture
def long_task(demo: Person, example: Path) -> str:
    """Of 133 seconds: long enough for something to happen in the middle of it."""
    return demo.submit(demo.upload(example, "long.mp3"))


def test_nothing_to_do(service: InProcess) -> None:
    assert claim(service) is None
    assert service.work() is False


def test_claims_take_turns_between_tenants(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    third = service.register("third@example.com")
    many = [demo.submit(demo.upload(warmup)) for _ in range(4)]
    few = [stranger.submit(stranger.upload(warmup)) for _ in range(2)]
    order = [str(taken.task_id) for _ in range(3) if (taken := claim(service))]
    late = third.submit(third.upload(warmup))
    order += [str(taken.task_id) for _ in range(4) if (taken := claim(service))]
    assert order == [many[0], few[0], many[1], late, few[1], many[2], many[3]]
    assert claim(service) is None


def test_two_claimers_never_get_the_same_task(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    queued = {demo.submit(upload_id) for _ in range(10)}

    def take_all(worker: str) -> list[str]:
        taken: list[str] = []
        while True:
            found = claim(service, worker)
            if found is None:
                return taken
            taken.append(str(found.task_id))

    with ThreadPoolExecutor(6) as pool:
        taken = [task for each in pool.map(take_all, "abcdef") for task in each]
    left = claim(service)
    while left is not None:  # skipped by everybody at once while it was locked
        taken.append(str(left.task_id))
        left = claim(service)
    assert Counter(taken) == Counter(queued)


def test_a_worker_that_comes_late_changes_nothing(
    make_service: MakeService, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease expired, another has the task: its result is refused and its files are removed."""
    service = make_service(worker={"renew_seconds": 1000})
    person = service.login()
    task_id = person.submit(person.upload(warmup))
    late, commit = threading.Event(), DirectorySink.commit

    def comes_late(sink: DirectorySink) -> None:
        assert late.wait(60)
        commit(sink)

    monkeypatch.setattr(DirectorySink, "commit", comes_late)
    with working(service):
        try:
            wait_for(lambda: service.row(task_id).status == "processing")
            expire(service, task_id)
            rescued = lifecycle.rescue_expired(service.wiring.database, ATTEMPTS)
            assert [task.status for task in rescued] == ["queued"]
            second = claim(service, "another")
            assert second is not None and second.attempt == 2
        finally:
            late.set()
    row = service.row(task_id)
    assert (row.status, row.attempt, row.worker) == ("processing", 2, "another")
    assert service.files("output", "incoming") == []
    assert service.artifacts(task_id) == []
    assert person.entries() == [("grant", 10), ("hold", 1)]
    assert kinds(service, task_id) == ["queued", "processing", "queued", "processing"]


def test_every_late_change_is_refused(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    first = claim(service, "first")
    assert first is not None
    expire(service, task_id)
    database = service.wiring.database
    lifecycle.rescue_expired(database, ATTEMPTS)
    second = claim(service, "second")
    assert second is not None
    assert lifecycle.renew(database, first, LEASE, 0.5, "separating") is False
    assert lifecycle.complete(database, first, {}, []) is False
    assert lifecycle.fail(database, first, "x", "y", transient=False, max_attempts=ATTEMPTS) is None
    lifecycle.give_back(database, first, "worker_stopped")
    with database.write() as session:
        assert lifecycle.cancel(session, first.task_id, "processing", first.attempt) is False
    assert service.row(task_id).status == "processing"
    assert lifecycle.renew(database, second, LEASE, 0.5, "separating") is True
    assert lifecycle.complete(database, second, {}, []) is True
    assert lifecycle.complete(database, second, {}, []) is False
    assert demo.entries() == [("grant", 10), ("hold", 1), ("capture", 1)]


def test_an_expired_lease_is_rescued_and_a_valid_one_is_not(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    lost, kept = demo.submit(upload_id), demo.submit(upload_id)
    assert claim(service) and claim(service)
    expire(service, lost)
    Sweep(service.wiring, "another").run(idle=1)
    assert (service.row(lost).status, service.row(kept).status) == ("queued", "processing")
    assert service.work()
    assert demo.task(lost)["status"] == "completed"
    assert service.row(lost).attempt == 2
    assert {path.split("/")[3] for path in service.files("output")} == {"2"}


def test_a_worker_that_starts_again_gives_back_what_it_held(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    own, other = demo.submit(upload_id), demo.submit(upload_id)
    assert claim(service, "me") and claim(service, "you")
    Sweep(service.wiring, "me").start()
    assert (service.row(own).status, service.row(other).status) == ("queued", "processing")


def test_a_task_that_kills_its_workers_fails_for_good(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    for attempt in range(1, ATTEMPTS + 1):
        taken = claim(service)
        assert taken is not None and taken.attempt == attempt
        expire(service, task_id)
        Sweep(service.wiring, "another").run(idle=0)
    view = demo.task(task_id)
    assert (view["status"], view["error_code"], view["attempt"]) == ("failed", "worker_lost", ATTEMPTS)
    assert claim(service) is None
    assert demo.entries() == [("grant", 10), ("hold", 1), ("release", 1)]
    assert kinds(service, task_id) == ["queued", *["processing", "queued"] * 2, "processing", "failed"]


def test_trouble_that_may_pass_is_tried_three_times(service: InProcess, demo: Person, warmup: Path) -> None:
    """Here the song has vanished from the disk, which no wish of the user explains."""
    task_id = demo.submit(demo.upload(warmup))
    neighbour = demo.submit(demo.upload(warmup, "neighbour.mp3"))
    for path in service.settings.data_dir.glob(f"uploads/*/{service.row(task_id).upload_id}/source"):
        path.unlink()
    for _ in range(4):
        assert service.work()
    assert service.work() is False
    view = demo.task(task_id)
    assert (view["status"], view["error_code"]) == ("failed", "song_missing")
    assert "Send it again" in view["error_message"]
    assert kinds(service, task_id) == ["queued", *["processing", "queued"] * 2, "processing", "failed"]
    assert demo.task(neighbour)["status"] == "completed"
    assert demo.money() == (9, 0)
    assert service.files("incoming") == []


def test_a_worker_that_must_stop_hands_its_task_back(make_service: MakeService, long_song: Path) -> None:
    service = make_service(worker={"grace_seconds": 0})
    person = service.login()
    task_id = person.submit(person.upload(long_song))
    with working(service):
        wait_for(lambda: service.row(task_id).progress > 0.02)
        service.room.stopping.tell()
    row = service.row(task_id)
    assert (row.status, row.attempt, row.failures) == ("queued", 1, 0)
    assert service.events(task_id)[-1].data == {"reason": "worker_stopped"}
    assert service.files("output", "incoming") == []
    assert person.money() == (9, 1)


def test_repeating_and_deleting(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    task_id = demo.submit(upload_id)
    for method, path in (("POST", f"/tasks/{task_id}/retry"), ("DELETE", f"/tasks/{task_id}")):
        answer = demo.client.request(method, f"/api/v1{path}", headers=demo.headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "task_not_finished")
    demo.post(f"/tasks/{task_id}/cancel")

    again = demo.post(f"/tasks/{task_id}/retry")
    assert again.status_code == 202
    second = again.json()["task_id"]
    assert demo.task(second)["retry_of"] == task_id
    assert demo.money() == (9, 1)
    assert service.work()
    for path in ("retry", "cancel"):
        answer = demo.post(f"/tasks/{second}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "task_finished")

    assert len(service.files("output")) == 3
    assert demo.delete(f"/tasks/{second}").status_code == 204
    assert service.files("output") == []
    assert [row["task_id"] for row in demo.get("/history").json()] == [task_id]
    for path in (f"/tasks/{second}", f"/tasks/{second}/stems/vocals", f"/tasks/{second}/events"):
        assert demo.get(path).status_code == 404
    assert demo.delete(f"/tasks/{second}").status_code == 404
    assert demo.entries() == [("grant", 10), ("hold", 1), ("release", 1), ("hold", 1), ("capture", 1)]


def test_a_song_deleted_between_look_up_and_submit(service: InProcess, demo: Person, warmup: Path) -> None:
    """Such a task would stop every worker that claims it."""
    upload_id = demo.upload(warmup)
    scope = service.scope(demo)
    with service.wiring.database.read() as session:
        song = uploads.get(session, scope, UUID(upload_id))
    assert demo.delete(f"/uploads/{upload_id}").status_code == 204
    with pytest.raises(Problem, match="no such song"):
        tasks.submit(service.wiring, scope, [song], Order(), None, "")
    assert service.work() is False
    assert demo.money() == (10, 0)


def test_same_names_never_collide(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    ordered = [(demo, demo.submit(demo.upload(warmup))) for _ in range(2)]
    ordered.append((stranger, stranger.submit(stranger.upload(warmup))))
    for _ in ordered:
        assert service.work()
    paths = {stem["path"] for person, task_id in ordered for stem in person.task(task_id)["stems"]}
    assert len(paths) == 6
    assert all(Path(path).is_file() for path in paths)
