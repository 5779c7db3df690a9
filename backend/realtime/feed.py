"""What happens to tasks, told as it happens: one poller a process serves every listener.

It also looks, every few seconds, whether each listener would still be let in, and ends the others' streams.

Events come from the `event` table, in order, without gap or duplicate, and can be resumed after any of them.
Progress is a latest value: a slow listener skips to the newest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from backend.db import Database
from backend.models.task import FINISHED
from backend.realtime import repository
from backend.way_in import WayIn

log = logging.getLogger(__name__)

POLL_SECONDS = 0.4
PAUSE_FACTOR, LONGEST_SECONDS = 50, 1.5
"""A look is followed by a pause of at least so many times as it took, so that many listeners on a busy machine cost a
fiftieth of it; but nobody waits longer than that."""
CHECK_SECONDS = 2.0
"""How long a stream outlives the login or key that opened it, and a pause."""

StillIn = Callable[[Session, Collection[WayIn]], set[WayIn]]


@dataclass(frozen=True, slots=True)
class Update:
    """`seq` is None for progress, which is not kept and can't be resumed from."""

    kind: str
    data: dict[str, Any]
    seq: int | None = None


@dataclass(eq=False, slots=True)
class _Listener:
    task_id: UUID
    seq: int
    way_in: WayIn
    shown: dict[str, Any] | None = None
    ended: bool = False
    pending: list[Update] = field(default_factory=list)
    awake: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, update: Update) -> None:
        if update.kind == "progress":
            self.pending = [waiting for waiting in self.pending if waiting.kind != "progress"]
        self.pending.append(update)
        self.awake.set()

    def end(self) -> None:
        self.ended = True
        self.awake.set()


class Feed:
    def __init__(self, database: Database, plans: Callable[[], Mapping[str, int]], still_in: StillIn) -> None:
        """`still_in`: of listeners' ways in, those that are still open."""
        self._database = database
        self._plans = plans
        self._still_in = still_in
        self._checked = 0.0
        self._listeners: set[_Listener] = set()
        self._poller: asyncio.Task[None] | None = None

    async def listen(self, task_id: UUID, after: int, way_in: WayIn) -> AsyncIterator[Update]:
        """Updates of a task from after event `after` until it is finished, or the listener's way in is closed.

        The caller must have checked that the listener may see the task.
        """
        listener = _Listener(task_id, after, way_in)
        self._listeners.add(listener)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            while not (listener.ended and not listener.pending):
                await listener.awake.wait()
                listener.awake.clear()
                updates, listener.pending = listener.pending, []
                for update in updates:
                    yield update
        finally:
            self._listeners.discard(listener)

    async def close(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def _poll(self) -> None:
        while self._listeners:
            listeners, pause = list(self._listeners), 0.0
            since = {listener.task_id: 1 << 62 for listener in listeners}
            for listener in listeners:
                since[listener.task_id] = min(since[listener.task_id], listener.seq)
            try:
                if time.monotonic() >= self._checked + CHECK_SECONDS:
                    listeners = await self._let_go(listeners)
                began = time.monotonic()
                news = await run_in_threadpool(self._read, since)
                pause = min(PAUSE_FACTOR * (time.monotonic() - began), LONGEST_SECONDS)
            except SQLAlchemyError as error:
                log.warning("the feed can't read the database: %s", type(error).__name__)
            else:
                for listener in listeners:
                    _deliver(listener, news[listener.task_id])
            await asyncio.sleep(max(POLL_SECONDS, pause))

    async def _let_go(self, listeners: Collection[_Listener]) -> list[_Listener]:
        """End the streams of those who would not be let in any more; the others."""
        good = await run_in_threadpool(self._good, {listener.way_in for listener in listeners})
        self._checked = time.monotonic()
        for listener in listeners:
            if listener.way_in not in good:
                listener.pending.clear()
                listener.end()
        return [listener for listener in listeners if not listener.ended]

    def _good(self, ways: Collection[WayIn]) -> set[WayIn]:
        with self._database.read() as session:
            return self._still_in(session, ways)

    def _read(self, since: dict[UUID, int]) -> dict[UUID, repository.News]:
        with self._database.read() as session:
            return repository.news(session, since, self._plans())


def _deliver(listener: _Listener, news: repository.News) -> None:
    for event in news.events:
        if event.seq > listener.seq:
            listener.seq = event.seq
            listener.tell(Update("state", {"status": event.kind, **event.data}, event.seq))
    if news.progress is not None and news.progress != listener.shown:
        listener.shown = news.progress
        listener.tell(Update("progress", news.progress))
    # Finished only when its last event has been told: the row and the event are read one after the other.
    if news.status is None or (news.status in FINISHED and listener.seq >= news.last_event):
        listener.end()
