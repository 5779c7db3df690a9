"""Holding on to a task while it is worked on.

One thread a task writes, once a second, in one statement: the lease, the latest progress; and learns from it
whether the task is still its own, or was cancelled or taken over. When the process dies, so does the lease.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from sqlalchemy.exc import SQLAlchemyError

from backend.db import Database
from backend.logs import here
from backend.settings import Worker
from backend.task import lifecycle
from backend.task.lifecycle import Claim

log = logging.getLogger(__name__)

LeaseState = Literal["held", "lost", "stop"]


class Lease:
    def __init__(self, database: Database, claim: Claim, settings: Worker, must_stop: Callable[[], bool]) -> None:
        self._database = database
        self.claim = claim
        self._settings = settings
        self._must_stop = must_stop
        self._progress = (0.0, "starting")
        self._state: LeaseState = "held"
        self._done = threading.Event()
        self._thread = threading.Thread(target=here(self._keep), name=f"lease-{claim.task_id}", daemon=True)

    def begin(self) -> Self:
        """By whom the task is claimed before it can be worked on; `with` goes on from there. Raises RuntimeError when
        no thread is to be had."""
        self._thread.start()
        return self

    def __enter__(self) -> Self:
        return self if self._thread.ident else self.begin()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """No more renewals; called before the task's last transaction."""
        self._done.set()
        if self._thread.ident:
            self._thread.join()

    def tell(self, fraction: float, stage: str) -> None:
        self._progress = (fraction, stage)

    def interrupted(self) -> bool:
        """Whether to stop working on the task; `state` says why."""
        return self.state != "held"

    @property
    def state(self) -> LeaseState:
        if self._state == "held" and self._must_stop():
            return "stop"
        return self._state

    def _keep(self) -> None:
        while not self._done.wait(self._settings.renew_seconds):
            fraction, stage = self._progress
            try:
                held = lifecycle.renew(self._database, self.claim, self._settings.lease_seconds, fraction, stage)
            except SQLAlchemyError as error:
                # The database may be back before the lease is over; if not, the attempt's number decides.
                log.warning("task %s: the lease was not renewed: %s", self.claim.task_id, type(error).__name__)
                continue
            except Exception:  # memory or file handles, of which there may be enough in a moment
                log.exception("task %s: the lease was not renewed", self.claim.task_id)
                continue
            if not held:
                self._state = "lost"
                return
