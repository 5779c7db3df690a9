"""Notices that tasks wait and nothing begins, which nobody else would: every request is answered all the same.

Not while workers are busy, however long their tasks are; nor for tenants that are suspended or have as many tasks
under way as they may. What it sees has to last for `VR_OBSERVE__STALLED_SECONDS`, look by look.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from backend.line import service as line
from backend.metric import repository
from backend.probe import Probe
from backend.wiring import Wiring
from backend.worker.service import MISSED_BEATS

log = logging.getLogger(__name__)

STARTING_SECONDS = 600.0
"""How long a worker may fetch and load its first model."""
LONGEST_PAUSE = 15.0
LOOKS = 4
"""Within the time that has to pass: one bad moment is none."""
AGAIN_SECONDS = 600.0


class Watchdog:
    """A thread of each API process: it works just as well when no worker is left."""

    def __init__(self, wiring: Wiring, broker: Probe) -> None:
        self.stalled: str | None = None
        """Why nothing begins, while it is so."""
        self._wiring, self._broker = wiring, broker
        self._heads: Mapping[UUID, UUID] = {}
        self._since: float | None = None
        self._looked_at = self._told_at = -AGAIN_SECONDS
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def _pause(self) -> float:
        return min(LONGEST_PAUSE, self._wiring.settings.observe.stalled_seconds / LOOKS)

    def look(self) -> None:
        """Never raises. What can't be seen, because the database is away, is no alarm of ours."""
        try:
            why = self.why_nothing_begins()
        except SQLAlchemyError:
            why = None
        now = time.monotonic()
        if why is None or now - self._looked_at > 3 * self._pause:  # stopped itself, or the machine slept
            self._since = None if why is None else now
        elif self._since is None:
            self._since = now
        self._looked_at = now
        lasts = self._since is not None and now - self._since >= self._wiring.settings.observe.stalled_seconds
        self._tell(why if lasts else None, now)

    def why_nothing_begins(self) -> str | None:
        """At this moment; None also where nothing waits. Raises SQLAlchemyError."""
        settings = self._wiring.settings
        silent = settings.worker.heartbeat_seconds * MISSED_BEATS
        with self._wiring.database.read() as session:
            heads = line.heads(session, settings.tenant.concurrent_tasks)
            hands = repository.hands(session, silent, STARTING_SECONDS) if heads else []
        before, self._heads = self._heads, heads
        if not heads:
            return None
        if not hands:
            return "no worker is alive"
        if any(heads.get(tenant_id) != task_id for tenant_id, task_id in before.items()):
            return None  # one has begun
        able = [hand for hand in hands if hand.busy or hand.error is None]  # who works can, whatever its warm-up met
        if not able:
            return f"no worker can work: {hands[0].error}"
        idle = [hand.name for hand in able if not hand.busy and not hand.starting]
        if not idle:
            return None
        if failure := self._broker.failure():
            return f"workers are idle, and can't be woken: {failure}"
        return f"idle workers take nothing, their logs should say why: {', '.join(idle[:5])}"

    def _tell(self, why: str | None, now: float) -> None:
        before, self.stalled = self.stalled, why
        if why is None:
            if before is not None:
                log.warning("the queue moves again")
                self._told_at = -AGAIN_SECONDS
        elif now - self._told_at >= AGAIN_SECONDS:
            self._told_at = now
            log.error("tasks wait and none starts: %s", why)

    def _watch(self) -> None:
        while not self._over.wait(self._pause):
            self.look()
