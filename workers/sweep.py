"""What makes the broker disposable: every worker looks, every few seconds, for work that nobody rang for.

Safe to run any number of times and on any number of hosts: each rescue is one guarded statement. Only the database is
asked: a storage that hangs must not keep a task from being rescued.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.models import Task
from backend.part import service as parts
from backend.task import lifecycle
from backend.webhook import alert
from backend.wiring import Wiring
from backend.worker import service as workers
from workers.patience import patiently

log = logging.getLogger(__name__)


class Sweep:
    """Called by threads of the worker's main process; never raises."""

    def __init__(self, wiring: Wiring, worker: str) -> None:
        self._wiring = wiring
        self._worker = worker

    def start(self) -> None:
        """Report for work, and give back what this worker held when it died; waits for a database that is away."""
        self._wiring.storage.clear_incoming(self._worker)
        patiently(self._sign_in)

    def _sign_in(self) -> None:
        with self._wiring.database.write() as session:
            workers.started(session, self._worker)
            parts.rescue_own(session, self._worker)
        ended = lifecycle.rescue_own(self._wiring.database, self._worker, self._wiring.settings.worker.max_attempts)
        self._after_rescue(ended)

    def stop(self) -> None:
        try:
            with self._wiring.database.write() as session:
                workers.stopped(session, self._worker)
        except SQLAlchemyError as error:
            log.warning("could not sign off: %s", type(error).__name__)

    def heartbeat(self) -> None:
        self._quietly(self._heartbeat)

    def run(self, idle: int) -> None:
        """Rescue expired leases, then ring as many bells as this worker could answer at once. What fails keeps
        nothing else from being done."""
        self._quietly(lambda: self._run(idle))

    def _heartbeat(self) -> None:
        with self._wiring.database.write() as session:
            workers.heartbeat(session, self._worker)

    def _run(self, idle: int) -> None:
        with self._wiring.database.read() as session:
            expired = lifecycle.any_expired(session)
            silent = parts.any_expired(session)
            ready = lifecycle.ready(session, self._wiring.settings.tenant.concurrent_tasks)
            ready += parts.count_wanted(session, self._worker)
            alerts = alert.any_due(session)
        rescued: list[Task] = []
        if expired:
            self._quietly(lambda: rescued.extend(self._rescue_tasks()))
        if silent:
            self._quietly(lambda: self._write(parts.rescue_expired))
        if alerts:
            self._quietly(lambda: self._write(alert.tell))
        for _ in range(min(idle, ready + len(rescued))):
            self._wiring.bell.ring()

    def _rescue_tasks(self) -> list[Task]:
        rescued = lifecycle.rescue_expired(self._wiring.database, self._wiring.settings.worker.max_attempts)
        self._after_rescue(rescued)
        return rescued

    def _write(self, step: Callable[[Session], object]) -> None:
        with self._wiring.database.write() as session:
            step(session)

    def _after_rescue(self, tasks: list[Task]) -> None:
        """What a task that is over by now has left in the storage finds `backend.task.leftovers`."""
        for task in tasks:
            log.warning("task %s: its worker was lost, now %s", task.id, task.status)

    def _quietly(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SQLAlchemyError as error:
            log.warning("the database can't be used: %s", str(error).partition("\n")[0])
        except Exception:
            log.exception("sweep")
