"""The Celery worker: `celery -A workers.app worker`, or `vocal-remover worker`.

The main process keeps the heartbeat and the sweep; separating happens in the pool. With threads (the
default) model and tasks live in this one process; with prefork each child loads its own model after the
fork, because no runtime survives one.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from functools import partial
from typing import Any

from celery import bootsteps, signals
from celery.worker import state

from backend.queue import SEPARATE, celery_app
from backend.settings import Settings
from backend.wiring import wire
from backend.worker.service import worker_name
from workers.deliver import Deliverer
from workers.orphans import Orphans
from workers.parts import repeating
from workers.room import EngineRoom
from workers.separate import work
from workers.stopping import Stopping
from workers.sweep import Sweep
from workers.tidy import Tidy

log = logging.getLogger(__name__)

settings = Settings()
settings.refuse_unsafe()
app = celery_app(settings)
app.conf.worker_consumer = "workers.consumer:Consumer"

_stopping = Stopping(settings.worker.grace_seconds)
_room: EngineRoom | None = None


def room() -> EngineRoom:
    """This process's engine room; made at the first call, in the process that separates."""
    global _room
    if _room is None:
        _room = EngineRoom(settings, _stopping)
        _room.wiring.running.start()
    return _room


@app.task(name=SEPARATE)
def separate_next() -> None:
    """Somebody rang: take the next task, if there is one. If more wait, ring for the next."""
    if work(room()):
        room().ring_if_queued()


class Keeper(bootsteps.StartStopStep):
    """Threads of the worker's main process. Not its timer, which stands still while a broker is away."""

    requires = ("celery.worker.components:Pool",)  # its children are forked before a thread is started

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        wiring = wire(settings)
        self._sweep = Sweep(wiring, worker_name(settings))
        self._deliverer = Deliverer(wiring.database, settings.webhook)
        self._orphans = Orphans(wiring)
        self._tidy = Tidy(wiring)
        self._running = wiring.running
        self._repeated = ExitStack()

    def start(self, worker: Any) -> None:
        for step, seconds, name in (
            (self._sweep.heartbeat, settings.worker.heartbeat_seconds, "heartbeat"),
            (partial(self._look, worker), settings.worker.sweep_seconds, "sweep"),
        ):
            self._repeated.enter_context(repeating(step, seconds, name))
        self._deliverer.start()
        self._orphans.start()
        self._tidy.start()
        self._running.start()

    def stop(self, worker: Any) -> None:
        self._running.stop()
        self._tidy.stop()
        self._orphans.stop()
        self._deliverer.stop()
        self._repeated.close()  # no heartbeat comes after signing off
        self._sweep.stop()

    def _look(self, worker: Any) -> None:
        busy = len(state.reserved_requests)  # reserved ones are waiting or running
        self._sweep.run(idle=max(0, worker.concurrency - busy))


app.steps["worker"].add(Keeper)


@signals.worker_init.connect
def _report(**_: Any) -> None:
    """Before anything is consumed: sign in, and warm up unless children will."""
    Sweep(wire(settings), worker_name(settings)).start()
    if settings.worker.pool != "prefork":
        room().warm_up()


@signals.worker_process_shutdown.connect
def _stop_child(**_: Any) -> None:
    room().wiring.tracing.stop()


@signals.worker_process_init.connect
def _warm_child(**_: Any) -> None:
    room().warm_up()


@signals.worker_shutting_down.connect
def _stop_soon(how: str = "Warm", **_: Any) -> None:
    """What is not done within the grace time is handed back; told twice, or coldly, at once."""
    _stopping.tell(at_once=how == "Cold")
