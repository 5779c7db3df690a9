"""Looks at the queue five times a second: how long did work wait while somebody was free to do it?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psycopg

from bench.chaos.fleet import Fleet

LOOK_SECONDS = 0.2
COUNTS = "SELECT status, count(*) FROM task GROUP BY status"


class Watch(threading.Thread):
    """`stall` is the longest time with tasks that could be claimed, a worker up with nothing else to do, every server
    up, and no claim.
    """

    def __init__(self, url: str, fleet: Fleet, concurrency: int, broken: Callable[[], str]) -> None:
        super().__init__(name="watch")
        self.stall = 0.0
        self.counts: dict[str, int] = {}
        self._url, self._fleet, self._concurrency, self._broken = url, fleet, concurrency, broken
        self._stopping = threading.Event()
        self._connection: psycopg.Connection | None = None

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        since, before = time.monotonic(), -1
        while not self._stopping.wait(LOOK_SECONDS):
            now, claims = time.monotonic(), self._claims()
            waiting = self._look()
            if not waiting or claims != before or not self._somebody_free() or self._broken():
                since, before = now, claims
            else:
                self.stall = max(self.stall, now - since)
        if self._connection is not None:
            self._connection.close()

    def _somebody_free(self) -> bool:
        return any(
            worker.runs
            and not worker.busy.locked()
            and worker.up_since < float("inf")
            and self._has_room(worker.board.working)
            for worker in self._fleet.workers
        )

    def _has_room(self, working: int) -> bool:
        return working < self._concurrency

    def _claims(self) -> int:
        """Of all who are up; a restart changes it, too, and begins anew."""
        return sum(1_000_003 * worker.pid + worker.board.claims for worker in self._fleet.workers)

    def _look(self) -> int:
        """How many tasks wait; 0 when nobody can say."""
        try:
            if self._connection is None:
                self._connection = psycopg.connect(self._url, autocommit=True, connect_timeout=2)
            rows = self._connection.execute(COUNTS).fetchall()
        except psycopg.Error:
            if self._connection is not None:
                with suppress(psycopg.Error):
                    self._connection.close()
            self._connection = None
            return 0
        self.counts = {str(status): int(count) for status, count in rows}
        return self.counts.get("queued", 0)
