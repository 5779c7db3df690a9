"""The sweep on many hosts at once, what killed workers leave, and events that are heard without gap or double."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import select

from backend.clock import database_now
from backend.credit import service as credit
from backend.models import Event, Task
from backend.storage import output_key
from backend.task import leftovers, lifecycle
from tests.listening import told
from tests.processes import FINISHED
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.walking import walk
from tests.workers.test_life_of_a_task import ATTEMPTS, LEASE, claim, expire, wait_for
from workers.sweep import Sweep

HOSTS = 8


@on_both
def test_of_many_sweeps_at_once_one_rescues_each_task(make_service: MakeService, warmup: Path) -> None:
    """While workers claim, go silent, and come back late."""
    service = make_service(credit={"signup_grant": 20_000})
    person = service.register("many@example.com")
    upload_id = person.upload(warmup)
    tasks = [person.submit(upload_id) for _ in range(12)]
    over = threading.Event()

    def host(number: int) -> None:
        sweep, chance = Sweep(service.wiring, f"host{number}"), random.Random(number)
        while not over.is_set():
            sweep.run(idle=0)
            taken = lifecycle.claim(service.wiring.database, f"host{number}", LEASE)
            if taken is not None:
                expire_if_held(service, taken.task_id)
                time.sleep(chance.random() * 0.05)
                lifecycle.complete(service.wiring.database, taken, {}, [])  # late, or just in time

    with ThreadPoolExecutor(HOSTS) as pool:
        hosts = [pool.submit(host, number) for number in range(HOSTS)]
        try:
            wait_for(lambda: all(service.row(task).status in FINISHED for task in tasks) or hosts[0].done())
        finally:
            over.set()
        for each in hosts:
            each.result()
    with service.wiring.database.read() as session:
        events = session.execute(select(Event.task_id, Event.kind).order_by(Event.task_id, Event.seq)).all()
        assert credit.verify(session) == []
    for task_id in tasks:
        heard = [kind for each, kind in events if each == UUID(task_id)]
        claims = heard.count("processing")
        assert heard == ["queued", *["processing", "queued"] * (claims - 1), "processing", heard[-1]]
        assert heard[-1] in ("completed", "failed") and claims <= ATTEMPTS
        assert Counter(heard)["failed"] == (heard[-1] == "failed")


def expire_if_held(service: InProcess, task_id: UUID) -> None:
    with suppress(Exception):  # it has ended meanwhile
        expire(service, str(task_id))


def put(service: InProcess, task_id: UUID, *attempts: int) -> None:
    for attempt in attempts:
        with service.wiring.storage.incoming("killed") as folder:
            (folder / "vocals.wav").write_bytes(b"RIFF")
            key = output_key("song.mp3", task_id, attempt, "vocals.wav")
            service.wiring.storage.adopt(folder / "vocals.wav", key)


@on_both
def test_what_workers_that_never_came_back_have_left(service: InProcess, demo: Person, warmup: Path) -> None:
    """Of a task that was completed elsewhere, of one that was cancelled; and nothing of those under way."""
    upload_id = demo.upload(warmup)
    completed, cancelled, running, old = (UUID(demo.submit(upload_id)) for _ in range(4))
    with service.wiring.database.write() as session:
        walk(session, completed, "processing")
        walk(session, Task.id == cancelled, "failed")
        walk(session, running, "processing")
        walk(session, old, "failed", finished_at=database_now(-leftovers.LATELY_SECONDS - 60))
    expire(service, str(completed))
    Sweep(service.wiring, "another").run(idle=0)
    taken = claim(service, "another")
    assert taken is not None and (taken.task_id, taken.attempt) == (completed, 2)
    assert lifecycle.complete(service.wiring.database, taken, {}, [])
    put(service, completed, 1, 2)
    put(service, cancelled, 1)
    put(service, running, 1)
    put(service, old, 1)
    with ThreadPoolExecutor(HOSTS) as pool:
        for done in [pool.submit(leftovers.remove, service.wiring) for _ in range(HOSTS)]:
            done.result()
    kept = {(completed, 2), (running, 1), (old, 1)}  # what is older finds the look for orphans
    assert service.files("output") == sorted(f"output/song/{task}/{attempt}/vocals.wav" for task, attempt in kept)


@on_both
def test_events_are_heard_once_each_however_often_one_reconnects(make_service: MakeService, warmup: Path) -> None:
    """From two API processes' pollers, while the task is rescued again and again."""
    services = [make_service(), make_service()]
    service, chance = services[0], random.Random(6)
    person = service.login()
    task_id = person.submit(person.upload(warmup))
    readers = [person, Person(services[1].client, person.email, person.token)]
    heard: dict[int, list[tuple[int | None, str]]] = {number: [] for number in range(4)}

    def listen(number: int) -> None:
        mine = heard[number]
        while not mine or mine[-1][1] not in FINISHED:
            last = mine[-1][0] if mine else 0
            assert last is not None
            leave_after = chance.randint(1, 3)
            with suppress(httpx.HTTPError):
                for kind, seq, data in told(chance.choice(readers), task_id, after=last):
                    leave_after -= 1
                    if kind == "state":
                        mine.append((seq, data["status"]))
                    if leave_after <= 0:
                        break

    def go_on(into: str) -> None:
        """Once somebody has heard of the last step, or not."""
        time.sleep(chance.random() * 0.5)
        if into == "processing":
            assert claim(service)
        else:
            expire(service, task_id)
            Sweep(service.wiring, "another").run(idle=0)

    with ThreadPoolExecutor(4) as pool:
        listening = [pool.submit(listen, number) for number in heard]
        for _ in range(ATTEMPTS):
            go_on("processing")
            go_on("rescued")
        for each in listening:
            each.result(60)
    states = ["queued", *["processing", "queued"] * (ATTEMPTS - 1), "processing", "failed"]
    assert all(each == list(enumerate(states, 1)) for each in heard.values()), heard
    log = person.get(f"/tasks/{task_id}/log").json()
    assert [(entry["seq"], entry["status"]) for entry in log] == list(enumerate(states, 1))
    assert [entry["seq"] for entry in person.get(f"/tasks/{task_id}/log?after=5").json()] == [6, 7]
    assert log[-1]["data"]["error_code"] == "worker_lost"
    assert person.get("/tasks/" + "0" * 32 + "/log").status_code == 404
