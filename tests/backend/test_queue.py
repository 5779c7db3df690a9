"""Whose turn it is: fair between tenants, by plan, and told to people in the order in which it happens."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import event, update
from typer.testing import CliRunner

from backend.clock import utc_now
from backend.identity import new_id
from backend.line import service as line
from backend.models import Pace, Step, Task, Tenant
from backend.task import lifecycle
from backend.task.lifecycle import Claim
from backend.tenant.scope import Scope
from cli.people import app as people
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.walking import walk

PLANS = {"standard": 1, "priority": 3, "double": 2}


class Tenants:
    """People in tenants of their own, with a song each, who can order without HTTP between."""

    def __init__(self, service: InProcess, song: Path) -> None:
        self._service = service
        self._song = song
        self._numbers = count()
        self.scopes: dict[str, Scope] = {}
        self._uploads: dict[str, UUID] = {}

    def add(self, plan: str = "standard") -> str:
        name = f"tenant{next(self._numbers)}@example.com"
        person = self._service.register(name)
        self.scopes[name] = self._service.scope(person)
        self._uploads[name] = UUID(person.upload(self._song))
        with self._service.wiring.database.write() as session:
            session.execute(update(Tenant).where(Tenant.id == self.scopes[name].tenant_id).values(plan=plan))
        return name

    def order(self, name: str, tasks: int = 1, seconds: float = 60.0) -> list[UUID]:
        """Rows as submitting writes them, money and events aside."""
        scope, ids = self.scopes[name], []
        with self._service.wiring.database.write() as session:
            for _ in range(tasks):
                task = Task(
                    id=new_id(), tenant_id=scope.tenant_id, user_id=scope.user_id, upload_id=self._uploads[name],
                    source_name="song.mp3", seconds=seconds, price=0, last_event=1,
                )  # fmt: skip
                step = {"position": 0, "op": "separate", "model": "lite", "options": {}, "price": 0}
                session.add(task)
                session.flush()
                session.add(Step(tenant_id=scope.tenant_id, task_id=task.id, **step))
                ids.append(task.id)
        return ids

    def name(self, claim: Claim) -> str:
        return next(name for name, scope in self.scopes.items() if scope.tenant_id == claim.tenant_id)


@pytest.fixture
def tenants(service: InProcess, warmup: Path) -> Tenants:
    return Tenants(service, warmup)


def take(service: InProcess, plans: Mapping[str, int] = PLANS, worker: str = "somebody") -> Claim | None:
    return lifecycle.claim(service.wiring.database, worker, 3000, plans)


def take_all(service: InProcess) -> list[Claim]:
    taken: list[Claim] = []
    while (claim := take(service)) is not None:
        taken.append(claim)
    return taken


def places(service: InProcess, ids: Sequence[UUID]) -> list[int]:
    with service.wiring.database.read() as session:
        looked = line.look(session, PLANS)
        rows = [session.get_one(Task, task_id) for task_id in ids]
        return [line.position(session, looked, row) for row in rows]


@on_both
def test_a_hundred_tasks_delay_a_stranger_s_first_by_one_each_worker(service: InProcess, tenants: Tenants) -> None:
    """Workers that all ask at the same moment, while others of the long queue are under way."""
    workers, many, late = 6, tenants.add(), tenants.add()
    tenants.order(many, 100)
    together = threading.Barrier(workers)

    def work(number: int) -> Claim | None:
        together.wait()
        return take(service, worker=f"worker{number}")

    def claims() -> list[UUID]:
        return [claim.task_id for claim in pool.map(work, range(workers)) if claim is not None]

    with ThreadPoolExecutor(workers) as pool:
        for _ in range(4):
            assert len(claims()) == workers
            first = tenants.order(late)[0]
            assert first in claims()  # each worker has taken one, and one of them is this


@on_both
def test_everything_is_taken_once_whoever_claims(service: InProcess, tenants: Tenants) -> None:
    ordered = [task for _ in range(5) for task in tenants.order(tenants.add(), 8)]

    def work(name: str) -> list[UUID]:
        taken = []
        while (claim := take(service, worker=name)) is not None:
            taken.append(claim.task_id)
        return taken

    with ThreadPoolExecutor(6) as pool:
        taken = [task for each in pool.map(work, "abcdef") for task in each]
    taken += [claim.task_id for claim in take_all(service)]  # skipped by all at once while it was locked
    assert Counter(taken) == Counter(ordered)


@on_both
def test_a_plan_with_more_turns_gets_them_and_starves_nobody(service: InProcess, tenants: Tenants) -> None:
    paying, usual, other = tenants.add("priority"), tenants.add(), tenants.add("of a plan that is gone")
    for name in (paying, usual, other):
        tenants.order(name, 20)
    taken = [tenants.name(claim) for claim in take_all(service)]
    for start in range(5, 25, 5):  # rounds of 3 + 1 + 1
        assert Counter(taken[start : start + 5]) == {paying: 3, usual: 1, other: 1}
    assert taken.count(usual) == taken.count(other) == 20


@on_both
@pytest.mark.parametrize("seed", range(2))
def test_places_are_told_in_the_order_of_claims(service: InProcess, tenants: Tenants, seed: int) -> None:
    """Tenants of every plan, some served before and some never, with queues of every length."""
    chance = random.Random(seed)
    names = [tenants.add(chance.choice(list(PLANS))) for _ in range(6)]
    start = utc_now() - timedelta(days=1)
    for name in names[:4]:
        served = tenants.order(name, chance.randint(0, 4))
        with service.wiring.database.write() as session:
            for task_id in served:
                when = start + timedelta(seconds=chance.random() * 3600)
                walk(session, task_id, "failed", claimed_at=when, finished_at=when)
    ids = [task for name in names for task in tenants.order(name, chance.randint(1, 9))]
    chance.shuffle(names)
    ids += [task for name in names for task in tenants.order(name, chance.randint(0, 5))]
    told = places(service, ids)
    assert sorted(told) == list(range(len(ids)))
    expected = [task for _, task in sorted(zip(told, ids, strict=True))]
    taken = [claim.task_id for claim in take_all(service)]
    assert taken == expected


@on_both
def test_a_place_in_the_queue_is_the_same_everywhere(service: InProcess, tenants: Tenants, warmup: Path) -> None:
    """A task's status tells the place of the order of claims, not of age: old tasks of others are not before it."""
    tenants.order(tenants.add(), 30)
    person = service.register("late@example.com")
    task_id = person.submit(person.upload(warmup))
    assert person.task(task_id)["queue_position"] == 1
    assert take(service) is not None
    assert person.task(task_id)["queue_position"] == 0
    assert person.task(task_id)["eta"] is None  # nothing has run yet
    claim = take(service)
    assert claim is not None and str(claim.task_id) == task_id
    assert person.task(task_id)["queue_position"] is None


def test_the_time_left_comes_from_what_the_model_took(make_service: MakeService, warmup: Path) -> None:
    service = make_service(worker={"concurrency": 2, "expected": 1})
    tenants = Tenants(service, warmup)
    many, few = tenants.add(), tenants.add()
    with service.wiring.database.write() as session:
        # 10 times as fast as the music, and 2 times; all together 3 times.
        session.add_all([Pace(model="lite", audio_seconds=100, work_seconds=10)])
        session.add_all([Pace(model="slow", audio_seconds=140, work_seconds=70)])
    tenants.order(many, 10, seconds=30)
    [mine] = tenants.order(few, 1, seconds=60)
    database = service.wiring.database

    def forecast(model: str) -> tuple[int, float]:
        with database.read() as session:
            place, seconds = line.forecast(session, session.get_one(Task, mine), model, line.outlook(session, PLANS), 2)
        assert seconds is not None
        return place, round(seconds, 6)

    assert forecast("lite") == (1, 30 / 3 / 2 + 60 / 10)
    assert forecast("slow") == (1, 30 / 3 / 2 + 60 / 2)
    assert forecast("never run") == (1, 30 / 3 / 2 + 60 / 3)
    running = take(service)
    assert running is not None and tenants.name(running) == many
    assert lifecycle.renew(database, running, 3000, 0.5, "separating") is True
    assert forecast("lite") == (0, 30 * 0.5 / 10 / 2 + 60 / 10)


@on_both
def test_finished_tasks_say_how_fast_a_model_is(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    first = demo.submit(upload_id, model="lite")
    assert demo.task(first)["eta"] is None
    assert service.work()
    row = service.row(first)
    assert row.status == "completed" and row.finished_at is not None and row.claimed_at is not None
    spent = (row.finished_at - row.claimed_at).total_seconds()
    second = demo.submit(upload_id, model="lite")
    assert demo.task(second)["eta"] == pytest.approx(spent, abs=0.1)
    assert service.work()
    with service.wiring.database.read() as session:
        pace = session.get_one(Pace, "lite")
        assert pace.audio_seconds == pytest.approx(1.9 * row.seconds)


def test_a_long_queue_is_counted_in_its_index_on_sqlite(service: InProcess, tenants: Tenants) -> None:
    """No row of a task is read to tell who waits: the statement's plan names covering indexes alone.

    PostgreSQL tells plans in other words; CI's second pass leaves out what is named after SQLite.
    """
    tenants.order(tenants.add(), 3)
    seen: list[tuple[str, tuple[object, ...]]] = []

    def remember(_c: object, _cursor: object, statement: str, values: tuple[object, ...], *_: object) -> None:
        seen.append((statement, values))

    event.listen(service.wiring.database.engine, "before_cursor_execute", remember)
    with service.wiring.database.read() as session:
        line.look(session, PLANS)
        [(statement, values)] = [each for each in seen if each[0].startswith("SELECT")]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        reads = [row[3] for row in plan if " task" in row[3]]
    assert reads
    assert all("COVERING INDEX" in read for read in reads), reads


def test_the_operator_puts_a_tenant_on_a_plan(
    service: InProcess, tenants: Tenants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VR_DB__URL", service.settings.database_url)
    name = tenants.add()
    for plan, exit_code in (("priority", 0), ("golden", 1)):
        assert CliRunner().invoke(people, ["plan", name, plan]).exit_code == exit_code
    assert CliRunner().invoke(people, ["plan", "nobody@example.com", "priority"]).exit_code == 1
    with service.wiring.database.read() as session:
        assert session.get_one(Tenant, tenants.scopes[name].tenant_id).plan == "priority"
