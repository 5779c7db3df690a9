"""What the API process does when it starts and when it ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from backend.auth import service as auth
from backend.realtime.feed import Feed
from backend.settings import Settings
from backend.storage import LocalStorage
from backend.threads import WITHOUT_SERVER, Lane, use_lane
from backend.wiring import Wiring

log = logging.getLogger(__name__)

THREADS = 40
CLEARING_SECONDS = 600.0


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Raises UnsafeSettings: production does not start with development's secrets."""
    wiring: Wiring = app.state.wiring
    wiring.settings.refuse_unsafe()
    await to_thread.run_sync(wiring.running.start)
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    if wiring.database.is_sqlite:
        use_lane(Lane(at_once=WITHOUT_SERVER))
    app.state.feed = Feed(wiring.database, lambda: wiring.settings.queue.plans, auth.still_in)
    threading.Thread(target=wiring.bell.prepare, name="bell", daemon=True).start()
    app.state.watchdog.start()
    over = threading.Event()
    threading.Thread(target=_clear, args=(wiring.settings, over), name="clearing", daemon=True).start()
    yield
    over.set()
    await to_thread.run_sync(app.state.watchdog.stop)
    await app.state.feed.close()
    app.state.rate_limits.close()
    await to_thread.run_sync(wiring.running.stop)
    wiring.mail.close()
    await to_thread.run_sync(wiring.tracing.stop)
    wiring.storage.close()
    wiring.database.dispose()


def _clear(settings: Settings, over: threading.Event) -> None:
    """Remove what API processes that were killed had half received; workers do it where they share the folder.

    Safe in any number of processes. Nothing waits for its end: a folder that hangs may hold it.
    """
    folder = LocalStorage(settings.data_dir, settings.sample_dir)
    while not over.is_set():
        try:
            folder.remove_abandoned()
        except OSError as error:  # what is left has its next turn
            log.info("half received songs may be left: %s", error)
        over.wait(CLEARING_SECONDS)
