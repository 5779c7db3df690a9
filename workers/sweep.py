"""What makes the broker disposable: every worker looks, every few seconds, for work that nobody rang for.

Safe to run any number of times and on any number of hosts: each rescue is one guarded statement.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from backend import storage as keys
from backend.audit import service as audit
from backend.auth import service as auth
from backend.credit import service as credit
from backend.idempotency import service as idempotency
from backend.models import Task
from backend.models.task import FINISHED
from backend.payment import service as payments
from backend.task import lifecycle, retention
from backend.ticket import service as tickets
from backend.webhook import alert, outbox
from backend.wiring import Wiring
from backend.worker import service as workers

log = logging.getLogger(__name__)

TIDY_SECONDS = 600.0


class Sweep:
    """Called by a timer of the worker's main process; never raises."""

    def __init__(self, wiring: Wiring, worker: str) -> None:
        self._wiring = wiring
        self._worker = worker
        self._tidy_at = 0.0

    def start(self) -> None:
        """Report for work, and give back what this worker held when it died."""
        self._wiring.storage.clear_incoming(self._worker)
        with self._wiring.database.write() as session:
            workers.started(session, self._worker)
            ended = lifecycle.rescue_own(session, self._worker, self._wiring.settings.worker.max_attempts)
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
        """Rescue expired leases, then ring as many bells as this worker could answer at once."""
        self._quietly(lambda: self._run(idle))

    def _heartbeat(self) -> None:
        with self._wiring.database.write() as session:
            workers.heartbeat(session, self._worker)

    def _run(self, idle: int) -> None:
        database = self._wiring.database
        with database.read() as session:
            expired = lifecycle.any_expired(session)
            ready = lifecycle.ready(session, self._wiring.settings.tenant.concurrent_tasks)
            alerts = alert.any_due(session)
        if expired:
            with database.write() as session:
                rescued = lifecycle.rescue_expired(session, self._wiring.settings.worker.max_attempts)
            self._after_rescue(rescued)
            ready += len(rescued)
        if alerts:
            with database.write() as session:
                alert.tell(session)
        for _ in range(min(idle, ready)):
            self._wiring.bell.ring()
        if time.monotonic() >= self._tidy_at:
            more = self._tidy()
            self._tidy_at = time.monotonic() + (0 if more else TIDY_SECONDS)

    def _tidy(self) -> bool:
        """Whether there is more of it at once."""
        with self._wiring.database.write() as session:
            idempotency.forget_old(session)
            tickets.forget_expired(session)
            outbox.forget_old(session, self._wiring.settings.webhook.keep_days)
            auth.forget_old(session, self._wiring)
            payments.forget_old(session)
            audit.forget_old_addresses(session, self._wiring.settings.audit.address_days)
        with self._wiring.database.write() as session:
            credit.expire_due(session)
        with self._wiring.database.write() as session:
            payments.collect(session)
        self._wiring.storage.remove_abandoned()
        retention.go_on(self._wiring)
        return retention.apply(self._wiring)

    def _after_rescue(self, tasks: list[Task]) -> None:
        for task in tasks:
            log.warning("task %s: its worker was lost, now %s", task.id, task.status)
            if task.status in FINISHED:
                self._wiring.storage.delete(keys.task_key(task.source_name, task.id))

    def _quietly(self, step: Callable[[], None]) -> None:
        try:
            step()
        except SQLAlchemyError as error:
            log.warning("the database can't be used: %s", str(error).partition("\n")[0])
        except Exception:
            log.exception("sweep")
