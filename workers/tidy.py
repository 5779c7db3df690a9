"""Removes what has had its time, rows and files: one thread in every worker's main process, every ten minutes.

Safe on any number of hosts at once. A thread of its own, because a storage that hangs may hold it for as long as it
likes: heartbeat and sweep go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from backend.audit import service as audit
from backend.auth import service as auth
from backend.credit import service as credit
from backend.idempotency import service as idempotency
from backend.payment import service as payments
from backend.storage import StorageAway
from backend.task import leftovers, retention
from backend.ticket import service as tickets
from backend.upload import sending
from backend.webhook import outbox
from backend.wiring import Wiring

log = logging.getLogger(__name__)

TIDY_SECONDS = 600.0


class Tidy:
    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._stopping = threading.Event()
        # Nothing waits for its end, which may come at any file.
        self._thread = threading.Thread(target=self._work, name="tidy", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> bool:
        """Once; whether the last step has more to do at once. Never raises: what fails has its next turn, and holds
        nothing else up."""
        more: object = False
        steps: tuple[Callable[[], object], ...] = (
            self._forget,
            self._expire,
            self._collect,
            self._wiring.storage.remove_abandoned,
            lambda: sending.remove_of_gone(self._wiring),
            lambda: leftovers.remove(self._wiring),
            lambda: retention.go_on(self._wiring),
            lambda: retention.apply(self._wiring),
        )
        for step in steps:
            if self._stopping.is_set():
                return False
            try:
                more = step()
            except (SQLAlchemyError, StorageAway, OSError) as error:
                log.warning("some of the tidying was given up: %s", type(error).__name__)
                more = False
            except Exception:
                log.exception("tidying")
                more = False
        return bool(more)

    def _work(self) -> None:
        while not self._stopping.is_set():
            if not self.run():
                self._stopping.wait(TIDY_SECONDS)

    def _forget(self) -> None:
        settings = self._wiring.settings
        with self._wiring.database.write() as session:
            idempotency.forget_old(session)
            tickets.forget_expired(session)
            outbox.forget_old(session, settings.webhook.keep_days)
            auth.forget_old(session, self._wiring)
            payments.forget_old(session)
            audit.forget_old_addresses(session, settings.audit.address_days)

    def _expire(self) -> None:
        with self._wiring.database.write() as session:
            credit.expire_due(session)

    def _collect(self) -> None:
        with self._wiring.database.write() as session:
            payments.collect(session)
