"""One run: servers, fleet and people up; kills and outages side by side; quiet; verdict."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from backend.queue import Bell
from backend.settings import ROOT, Settings
from bench.chaos import songs, verdict
from bench.chaos.disk import Disk
from bench.chaos.fleet import Fleet
from bench.chaos.kills import Killer
from bench.chaos.load import Person, Traffic
from bench.chaos.outages import Outages
from bench.chaos.schedule import draw
from bench.chaos.servers import Postgres, Redis
from bench.chaos.verdict import Verdict
from bench.chaos.watch import Watch

LEASE_SECONDS = 4.0
CONCURRENCY = 2
PASSWORD = "a long pass phrase"
CREDITS = 10**8
"""Millicredits of each person: nobody runs out of them."""
SAY_SECONDS = 10.0
UP_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    minutes: float
    long: bool

    @property
    def people(self) -> int:
        return 8 if self.long else 4

    @property
    def workers(self) -> int:
        return 3 if self.long else 2


@dataclass
class Outcome:
    plan: Plan
    verdict: Verdict = field(default_factory=Verdict)
    minutes: float = 0.0
    kills: dict[tuple[str, str], int] = field(default_factory=dict)
    missed: int = 0
    outages: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    """Of the API, by status, and connections that broke."""
    oddities: list[str] = field(default_factory=list)
    ends: dict[str, int] = field(default_factory=dict)
    """Processes that ended by themselves, by what and status."""
    unclean: dict[str, int] = field(default_factory=dict)
    left_behind: int = 0
    """Processes that outlived what started them."""
    stall: float = 0.0
    quiet: bool = False
    disk: bool = False
    """Whether a disk could be filled here."""


def run(plan: Plan, folder: Path, own_disk: bool) -> Outcome:
    outcome = Outcome(plan, disk=own_disk)
    began = time.monotonic()
    with ExitStack() as stack:
        postgres = Postgres(folder / "postgres")
        stack.callback(postgres.stop)
        redis = Redis(folder / "redis")
        stack.callback(redis.stop)
        environment = _environment(folder / "data", postgres, redis)
        _command(environment, "prepare")
        emails = [f"person{number}@example.com" for number in range(1, plan.people + 1)]
        fleet = Fleet(folder, environment | {"VR_WORKER__EXPECTED": str(plan.workers)}, 2, plan.workers)
        stack.enter_context(fleet)
        if not fleet.wait_until_up(UP_SECONDS):
            raise RuntimeError(f"Not everything came up; logs are in {folder}.")
        for email in emails:
            body = {"email": email, "password": PASSWORD}
            httpx.post(
                f"{fleet.apis[0].url}/api/v1/register", json=body, timeout=60, trust_env=False
            ).raise_for_status()
        material = songs.make(folder / "songs", long_seconds=90.0 if plan.long else 30.0)
        traffic = Traffic([api.port for api in fleet.apis])
        stack.callback(traffic.close)
        watched = _Broken()
        watch = Watch(postgres.url, fleet, CONCURRENCY, watched.now)
        watch.start()
        over = threading.Event()
        bell = _bell(environment)
        rng = random.Random(plan.seed + 1)
        people = [
            Person(email, PASSWORD, material, traffic, random.Random(rng.random()), bell.ring, over, _say)
            for email in emails
        ]
        for person in people:
            person.start()
        disk = Disk(folder / "data", own_disk)
        give_up = threading.Event()
        killer = Killer(fleet, traffic, random.Random(rng.random()), give_up)
        outages = Outages(fleet, postgres, redis, disk, random.Random(rng.random()), give_up, _say)
        watched.outages = outages
        schedule = draw(plan.seed, 60 * plan.minutes, LEASE_SECONDS, long=plan.long)
        with _told(began, killer, outages, watch, people):
            try:
                with ThreadPoolExecutor(2, "lane") as pool:
                    lanes = [pool.submit(killer.run, schedule.kills), pool.submit(outages.run, schedule.breaks)]
                for lane in lanes:
                    lane.result()  # one that broke down has broken too little: the run fails
            finally:
                give_up.set()
                over.set()
            fleet.wait_until_up(UP_SECONDS)
            for person in people:
                person.join()
            outcome.quiet = verdict.wait_for_quiet(postgres.url)
        watch.stop()
        orders = [order for person in people for order in person.orders]
        fleet.close()
        outcome.verdict = verdict.reach(postgres.url, folder / "data", environment, orders, fleet)
        for person in people:
            person.close()
    outcome.minutes = (time.monotonic() - began) / 60
    outcome.kills, outcome.missed = dict(killer.done), killer.missed
    outcome.outages, outcome.unclean = dict(outages.done), dict(outages.unclean)
    outcome.answers = dict(traffic.answers)
    outcome.oddities = [odd for person in people for odd in person.oddities]
    outcome.ends = dict(sum((member.exits for member in fleet.members), Counter()))
    outcome.left_behind = sum(member.left_behind for member in fleet.members)
    outcome.stall = watch.stall
    return outcome


class _Broken:
    outages: Outages | None = None

    def now(self) -> str:
        return "" if self.outages is None else self.outages.now


def _environment(data: Path, postgres: Postgres, redis: Redis) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VR_")}
    values = {
        "data_dir": str(data),
        "db__url": postgres.sqlalchemy_url,
        "queue__url": redis.url,
        "limit__storage": redis.url,
        "limit__address": "100000 per minute",
        "limit__user": "20 per second",
        "limit__tenant": "40 per second",
        "limit__separate": "30 per 10 seconds",
        "limit__login": "1000 per minute",
        "credit__signup_grant": str(CREDITS),
        "engine__threads": "1",
        "engine__default_model": "lite",
        "worker__concurrency": str(CONCURRENCY),
        "worker__lease_seconds": str(LEASE_SECONDS),
        "worker__renew_seconds": "0.5",
        "worker__heartbeat_seconds": "1",
        "worker__sweep_seconds": "0.5",
        "worker__grace_seconds": "5",
        "worker__shared_seconds": "20",
    }
    return inherited | {f"VR_{name.upper()}": value for name, value in values.items()}


def _command(environment: dict[str, str], *arguments: str) -> None:
    line = [sys.executable, "-m", "cli", *arguments]
    said = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if said.returncode:
        raise RuntimeError(f"`vocal-remover {arguments[0]}` failed:\n{said.stderr}")


def _bell(environment: dict[str, str]) -> Bell:
    """Rings as the service does, once more than it does."""
    url = environment["VR_QUEUE__URL"]
    return Bell(Settings(_env_file=None, queue={"url": url}))  # type: ignore[arg-type]


@contextmanager
def _told(began: float, killer: Killer, outages: Outages, watch: Watch, people: list[Person]) -> Iterator[None]:
    """A line every ten seconds."""
    done = threading.Event()

    def tell() -> None:
        while not done.wait(SAY_SECONDS):
            tasks = " ".join(f"{status} {count}" for status, count in sorted(watch.counts.items()))
            _say(
                f"{time.monotonic() - began:5.0f} s  kills {killer.count} (missed {killer.missed})  outages "
                f"{outages.done.total()}  orders {sum(len(person.orders) for person in people)}  {tasks}  "
                f"stall {watch.stall:.1f} s  {outages.now}"
            )

    thread = threading.Thread(target=tell, name="told", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
