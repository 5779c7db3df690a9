"""Servers that go away, a disk that fills, workers that stop in the middle and go on, restarts in good order."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from bench.chaos.disk import Disk
from bench.chaos.fleet import Fleet, Worker, taken
from bench.chaos.kills import is_at
from bench.chaos.schedule import Break
from bench.chaos.servers import Postgres, Redis

WAIT_SECONDS = 20.0
READY_SECONDS = 120.0
LEFT_BYTES = (0, 100_000, 1_500_000)
"""On a full disk."""


@dataclass
class Outages:
    """Works off the outages of a schedule, one after the other."""

    fleet: Fleet
    postgres: Postgres
    redis: Redis
    disk: Disk
    rng: random.Random
    give_up: threading.Event
    say: Callable[[str], None]
    done: Counter[str] = field(default_factory=Counter)
    unclean: Counter[str] = field(default_factory=Counter)
    """Ends by SIGTERM that were not in good order."""
    now: str = ""
    """What is broken."""

    def run(self, breaks: Sequence[Break]) -> None:
        """Those that did not happen, since nobody was where they should hit, are tried once more in the end."""
        self._run(self._run([each for each in breaks if self.disk.is_own or each.what != "disk"]))

    def _run(self, breaks: Sequence[Break]) -> list[Break]:
        missed = []
        ways = {
            "flush": self._flush,
            "redis": self._stop_redis,
            "postgres": self._stop_postgres,
            "disk": self._fill_disk,
            "zombie": self._make_zombie,
            "rolling": self._restart_all,
        }
        for each in breaks:
            if self.give_up.wait(each.pause):
                break
            self.now = each.kind
            self.say(f"{self.now}, {each.seconds:.1f} s")
            if ways[each.what](each):
                self.done[each.kind] += 1
            else:
                missed.append(each)
            self.now = ""
        return missed

    def _flush(self, _: Break) -> bool:
        self.redis.flush()
        return True

    def _stop_redis(self, each: Break) -> bool:
        self.redis.stop()
        self.give_up.wait(each.seconds)
        self.redis.start()
        return True

    def _stop_postgres(self, each: Break) -> bool:
        self.postgres.stop(cast(Literal["fast", "immediate"], each.mode))
        self.give_up.wait(each.seconds)
        self.postgres.start()
        return True

    def _fill_disk(self, each: Break) -> bool:
        is_full = self.disk.fill(self.rng.choice(LEFT_BYTES))
        self.give_up.wait(each.seconds)
        self.disk.free()
        return is_full

    def _make_zombie(self, each: Break) -> bool:
        """A worker that stands still at a stage until its lease is long over, and goes on as if nothing were."""
        point = self.rng.choice(("before", "inside")) if each.mode == "commit" else ""
        give_up = time.monotonic() + WAIT_SECONDS
        try:
            while time.monotonic() < give_up:
                for worker in self.fleet.workers:
                    worker.board.want(each.mode, point)
                    if is_at(worker, each.mode, point):
                        with taken(worker) as free:
                            if free and worker.runs and is_at(worker, each.mode, point):
                                self._stop(worker, each.seconds)
                                return True
                time.sleep(0.001)
            return False
        finally:
            for worker in self.fleet.workers:
                worker.board.want()

    def _stop(self, worker: Worker, seconds: float) -> None:
        worker.send(signal.SIGSTOP)
        for each in self.fleet.workers:
            each.board.want()
        try:
            self.give_up.wait(seconds)
        finally:
            worker.send(signal.SIGCONT)

    def _restart_all(self, _: Break) -> bool:
        """One after the other, as an upgrade does it; who is down just now comes up anew anyway."""
        ended = 0
        for member in self.fleet.members:
            with taken(member, READY_SECONDS) as free:
                if not free or not member.runs:
                    continue
                member.restart_after = 0.0
                was_up = member.up_since < time.monotonic()
                status = member.end()
                ended += 1
                # While it starts, and after uvicorn has ended in good order, it is the signal that ends it.
                if status is None or (
                    status != 0 and not (status == -signal.SIGTERM and (member.is_api or not was_up))
                ):
                    self.unclean[f"{member.name} {'had to be killed' if status is None else status}"] += 1
                give_up = time.monotonic() + READY_SECONDS
                while member.up_since > time.monotonic() and time.monotonic() < give_up:
                    time.sleep(0.05)
        return ended > 0
