"""How many songs one API process takes in at once; who finds no place is told when to come again.

To receive a song costs little, so many may arrive side by side, also those that take minutes. To count its seconds
takes a core for a moment: so few are counted at once, the others wait for their turn, and neither reads nor the
workers on the same machine starve behind them.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from backend.problem import Problem
from backend.threads import Lane, in_thread

Told = TypeVar("Told")

COUNTED_AT_ONCE = len(os.sched_getaffinity(0))
SHARE_OF_A_TENANT = 4
"""At most one in so many places: nobody keeps all others out, however slowly they send."""
FIRST_GUESS_SECONDS = 0.5
"""That one song takes to be counted, until some were."""
LONGEST_WAIT_SECONDS = 60
NEW_WEIGHT = 0.2
ASKED_AT_ONCE, OF_A_TENANT = 4, 2
ASKING_SECONDS = 20.0


class UploadsBusy(Problem):
    status = 503
    code = "uploads_busy"
    detail = "As many songs are arriving here as can be taken in at once; nothing was kept of this one."
    advice = "Send the same request again after as many seconds as Retry-After says."

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.headers = {"Retry-After": str(seconds)}


class Admission:
    """For one event loop."""

    def __init__(self, places: int, counted_at_once: int = COUNTED_AT_ONCE) -> None:
        self._places = places
        self._most_of_one = max(1, places // SHARE_OF_A_TENANT)
        self._taken: Counter[UUID] = Counter()
        self._counted_at_once = counted_at_once
        self._turn = asyncio.Semaphore(counted_at_once)
        self._waiting = 0
        self._seconds = FIRST_GUESS_SECONDS

    @contextmanager
    def place(self, tenant_id: UUID) -> Iterator[None]:
        """From the first byte of a song until its row is written; raises UploadsBusy."""
        if self._taken.total() >= self._places or self._taken[tenant_id] >= self._most_of_one:
            raise UploadsBusy(self.wait_seconds())
        self._taken[tenant_id] += 1
        try:
            yield
        finally:
            self._taken[tenant_id] -= 1
            self._taken += Counter()  # those who have none are forgotten

    async def count(self, work: Callable[[], Told]) -> Told:
        """Do what takes a core, in a thread, when it is its turn: first come, first served."""
        self._waiting += 1
        try:
            async with self._turn:
                began = time.monotonic()
                told = await in_thread(work)
                self._seconds += NEW_WEIGHT * (time.monotonic() - began - self._seconds)
                return told
        finally:
            self._waiting -= 1

    def wait_seconds(self) -> int:
        """Until those that wait now are probably counted."""
        wait = (self._waiting + 1) * self._seconds / self._counted_at_once
        return min(LONGEST_WAIT_SECONDS, max(1, math.ceil(wait)))


class StorageTurns:
    """Who asks the storage for something that may take long: a few, in threads of their own.

    A storage that hangs holds these threads and none of those that answer everybody else. Who has a turn may keep a
    file on this host's disk, so there are no more of them than turns either. For one event loop.
    """

    def __init__(self) -> None:
        self._lane = Lane(threads=ASKED_AT_ONCE)
        self._all = asyncio.Semaphore(ASKED_AT_ONCE)
        self._own: WeakValueDictionary[Hashable, asyncio.Semaphore] = WeakValueDictionary()
        """Kept by those that hold them or wait for them."""

    @asynccontextmanager
    async def turn(self, tenant_id: UUID, song: str | None = None) -> AsyncIterator[None]:
        """One after the other; of a tenant two at once, and of a song one. Raises UploadsBusy when it takes long."""
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(ASKING_SECONDS):
                    if song is not None:
                        await held.enter_async_context(self._semaphore(song, 1))
                    await held.enter_async_context(self._semaphore(tenant_id, OF_A_TENANT))
                    await held.enter_async_context(self._all)
            except TimeoutError:
                raise UploadsBusy(math.ceil(ASKING_SECONDS)) from None
            yield

    async def run(self, work: Callable[[], Told]) -> Told:
        """For who has a turn."""
        return await self._lane.run(functools.partial(contextvars.copy_context().run, work))

    def _semaphore(self, of: Hashable, at_once: int) -> asyncio.Semaphore:
        semaphore = self._own.get(of)
        if semaphore is None:
            semaphore = self._own[of] = asyncio.Semaphore(at_once)
        return semaphore
