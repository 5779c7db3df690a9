"""One request at a time for each Idempotency-Key, within this process.

Repeats that arrive while the first is under way wait for its answer, before the rate limit counts them.
Between processes the database decides: a repeat may then meet the limit, and finds the answer when it obeys.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary


class Turns:
    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[UUID, str], asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, user_id: UUID, key: str | None) -> AsyncIterator[None]:
        """Waiting holds no thread: as many as there are could wait for one that needs one."""
        if key is None:
            yield
            return
        lock = self._locks.setdefault((user_id, key), asyncio.Lock())
        async with lock:
            yield
