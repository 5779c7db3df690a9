"""Where requests do what blocks: in threads, one or two at a time.

Python runs one thread at a time. Each further one that could run takes the interpreter from the others in the middle
of what they do: with two of them a request to SQLite costs a quarter more than with one, with forty more than twice as
much. So few may run at once: one where the database is in this process, two where a statement is a wait for a server.
One that has run for a moment waits for something (a lock, a disk, a database that is away); it counts no longer, and
the next may start. However many wait, the others go on.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

Given = ParamSpec("Given")
Told = TypeVar("Told")

AT_ONCE, WITHOUT_SERVER = 2, 1
MOMENT_SECONDS = 0.02
THREADS = 40


class Lane:
    """Threads of one event loop."""

    def __init__(self, threads: int = THREADS, at_once: int = AT_ONCE) -> None:
        """`threads`: with those that wait."""
        self._free = asyncio.Semaphore(at_once)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="request")

    async def run(self, work: Callable[[], Told]) -> Told:
        await self._free.acquire()
        turn = _Turn(self._free)
        loop = asyncio.get_running_loop()
        moment = loop.call_later(MOMENT_SECONDS, turn.end)
        try:
            return await loop.run_in_executor(self._pool, work)
        finally:
            moment.cancel()
            turn.end()


class _Turn:
    """Given back once."""

    def __init__(self, free: asyncio.Semaphore) -> None:
        self._free: asyncio.Semaphore | None = free

    def end(self) -> None:
        if self._free is not None:
            self._free.release()
            self._free = None


_lanes: WeakKeyDictionary[asyncio.AbstractEventLoop, Lane] = WeakKeyDictionary()


def use_lane(lane: Lane) -> None:
    """For `in_thread` in the event loop that runs."""
    _lanes[asyncio.get_running_loop()] = lane


async def in_thread(function: Callable[Given, Told], /, *args: Given.args, **kwargs: Given.kwargs) -> Told:
    """Call a function that blocks."""
    loop = asyncio.get_running_loop()
    lane = _lanes.get(loop)
    if lane is None:
        lane = _lanes[loop] = Lane()
    return await lane.run(functools.partial(contextvars.copy_context().run, function, *args, **kwargs))
