"""Broker or database away for a while, and workers whose clocks are hours off: with real processes and servers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy import select

from backend.clock import utc_now
from backend.db import Database
from backend.models import Worker
from backend.task import lifecycle
from bench.chaos import servers
from tests.processes import Cluster, Process, wait_until
from tests.servers import empty_settings, missing
from tests.service import Person

LEASE_SECONDS = 12
AWAY_SECONDS = 8.0


@pytest.fixture(scope="module")
def away(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Cluster, servers.Postgres, servers.Redis]]:
    if absent := servers.missing():
        missing(absent)
    with TemporaryDirectory(prefix="vr-outages-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL is another user
        postgres, redis = servers.Postgres(folder / "postgres"), servers.Redis(folder / "redis")
        settings = {"VR_DB__URL": postgres.sqlalchemy_url, "VR_QUEUE__URL": redis.url}
        try:
            with Cluster(tmp_path_factory.mktemp("outages"), **settings) as cluster:
                yield cluster, postgres, redis
                verified = cluster.command("ledger", "verify")
                assert verified.returncode == 0, verified.stdout + verified.stderr
        finally:
            redis.stop()
            postgres.stop()


Away = tuple[Cluster, servers.Postgres, servers.Redis]


def finished_once(cluster: Cluster, person: Person, task_ids: list[str]) -> None:
    for task_id in task_ids:
        assert cluster.finished(person, task_id)["status"] == "completed"
        kinds = [entry["status"] for entry in person.get(f"/tasks/{task_id}/log").json()]
        assert kinds.count("completed") == 1 and kinds[-1] == "completed"
    assert person.money() == (10 - len(task_ids), 0)
    assert [kind for kind, _ in person.entries()].count("capture") == len(task_ids)


def test_the_broker_goes_away_under_load(away: Away, warmup: Path) -> None:
    cluster, _, redis = away
    person = cluster.register("broker@example.com")
    upload_id = person.upload(warmup)
    tasks = [person.submit(upload_id, duration=2)]
    redis.stop()
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        tasks += pool.map(lambda _: person.submit(upload_id, duration=2), range(6))
    time.sleep(max(0.0, AWAY_SECONDS - (time.monotonic() - began)))
    redis.start()
    redis.flush()
    finished_once(cluster, person, tasks)


def test_a_worker_without_its_broker_lives_and_rescues(away: Away, warmup: Path, tmp_path: Path) -> None:
    cluster, postgres, redis = away
    person = cluster.register("rescue@example.com")
    upload_id = person.upload(warmup)
    database = Database(empty_settings(tmp_path, postgres.sqlalchemy_url))

    beats: set[datetime] = set()

    def alive() -> bool:
        with database.read() as session:
            beats.add(session.scalars(select(Worker.seen_at)).one())
        return len(beats) > 2

    def tries() -> int:
        return cluster.processes["worker"].text().count("Cannot connect to redis")

    try:
        before = tries()
        redis.stop()
        wait_until(lambda: tries() > before + 1)
        wait_until(alive)
        lost = person.submit(upload_id, duration=2)
        claim = lifecycle.claim(database, "gone@elsewhere", 0.1)
        assert claim is not None and str(claim.task_id) == lost
        wait_until(lambda: person.task(lost)["status"] == "queued")
        assert "Connected to redis" not in cluster.processes["worker"].text().rpartition("Cannot connect to redis")[2]
    finally:
        redis.start()
        database.dispose()
    finished_once(cluster, person, [lost])


def test_the_database_goes_away_in_the_middle_of_a_task(away: Away, long_song: Path, warmup: Path) -> None:
    cluster, postgres, _ = away
    person = cluster.register("database@example.com")
    upload_id = person.upload(warmup)
    task_id = person.submit(person.upload(long_song), duration=300)
    wait_until(lambda: person.task(task_id)["status"] == "processing")
    postgres.stop()
    back = time.monotonic() + AWAY_SECONDS
    key = {"Idempotency-Key": str(uuid4())}
    body = {"upload_id": upload_id, "duration": 1}
    while time.monotonic() < back:
        answer = person.post("/separate", body, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.5)
    postgres.start()
    wait_until(lambda: person.post("/separate", body, headers=key).status_code == 202)
    answers = [person.post("/separate", body, headers=key).json()["task_id"] for _ in range(2)]
    assert answers[0] == answers[1]
    finished_once(cluster, person, [task_id, answers[0]])
    assert person.task(task_id)["attempt"] == 1  # its worker went on by itself
    assert cluster.processes["worker"].running()


OFF = {"late": -2, "early": 2}
CLOCK = """
import datetime, time
OFF = {off}
_time, _datetime = time.time, datetime.datetime
class _Off(type(_datetime)):
    def __instancecheck__(cls, each): return isinstance(each, _datetime)
class Off(_datetime, metaclass=_Off):
    @classmethod
    def now(cls, tz=None): return _datetime.now(tz) + datetime.timedelta(seconds=OFF)
    @classmethod
    def utcnow(cls): return _datetime.utcnow() + datetime.timedelta(seconds=OFF)
time.time = lambda: _time() + OFF
time.time_ns = lambda: int((_time() + OFF) * 1e9)
datetime.datetime = Off
"""


def worker_off_by(cluster: Cluster, folder: Path, name: str, off: timedelta) -> Process:
    """A worker of its own name whose clock is wrong, in Python's own words for time."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CLOCK.format(off=off.total_seconds()))
    env = cluster.env | {
        "PYTHONPATH": str(folder),
        "VR_WORKER__NAME": name,
        "VR_WORKER__LEASE_SECONDS": str(LEASE_SECONDS),
        "VR_WORKER__RENEW_SECONDS": "0.1",
        "VR_WORKER__SHARED_SECONDS": "0",
    }
    return Process(["worker"], env, folder / "log")


@pytest.mark.timeout(600)
def test_workers_whose_clocks_are_hours_off(away: Away, long_song: Path, tmp_path: Path) -> None:
    """Neither takes the other's task while it is alive; both do when it is dead; and all times are the database's."""
    cluster, *_ = away
    person = cluster.register("clocks@example.com")
    cluster.processes["worker"].kill()
    del cluster.processes["worker"]
    began = utc_now() - timedelta(seconds=5)
    for name, hours in OFF.items():
        cluster.processes[name] = worker_off_by(cluster, tmp_path / name, name, timedelta(hours=hours))
    try:
        upload_id = person.upload(long_song)
        tasks = [person.submit(upload_id, duration=15) for _ in range(4)]
        finished_once(cluster, person, tasks)
        assert {person.task(task_id)["attempt"] for task_id in tasks} == {1}
        for name, hours in OFF.items():  # its log has its own time
            told = {f"{(at + timedelta(hours=hours)).astimezone():%Y-%m-%d %H:}" for at in (began, utc_now())}
            assert any(each in cluster.processes[name].text() for each in told)
        lost = person.submit(upload_id)
        wait_until(lambda: person.task(lost)["progress"] > 0.02)
        holder = next(name for name in OFF if f"task {lost} attempt 1" in cluster.processes[name].text())
        cluster.processes[holder].kill()
        finished_once(cluster, person, [*tasks, lost])
        assert person.task(lost)["attempt"] == 2
        for task_id in (*tasks, lost):
            for entry in person.get(f"/tasks/{task_id}/log").json():
                assert began < datetime.fromisoformat(entry["at"]) < utc_now() + timedelta(seconds=5)
    finally:
        for name in OFF:
            cluster.processes.pop(name).kill()
