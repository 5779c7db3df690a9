"""What the API process does when it starts and when it ends."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from backend.auth import service as auth
from backend.realtime.feed import Feed
from backend.wiring import Wiring

THREADS = 40


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Raises UnsafeSettings: production does not start with development's secrets."""
    wiring: Wiring = app.state.wiring
    wiring.settings.refuse_unsafe()
    await to_thread.run_sync(wiring.running.start)
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    app.state.feed = Feed(wiring.database, lambda: wiring.settings.queue.plans, auth.still_in)
    threading.Thread(target=wiring.bell.prepare, name="bell", daemon=True).start()
    app.state.watchdog.start()
    yield
    await to_thread.run_sync(app.state.watchdog.stop)
    await app.state.feed.close()
    app.state.rate_limits.close()
    await to_thread.run_sync(wiring.running.stop)
    wiring.mail.close()
    await to_thread.run_sync(wiring.tracing.stop)
    wiring.storage.close()
    wiring.database.dispose()
