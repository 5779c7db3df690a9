"""What one of the crowd does: sends a song, orders its stems, follows the task, fetches them and looks at each hash."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.crowd.service import PASSWORD
from bench.crowd.way import Asked, Way
from vocal_remover import AsyncClient, Patience, VocalRemoverError
from vocal_remover.errors import TaskFailed

LOOK_SECONDS, SELDOM = 2.0, 10.0
"""Between two looks at a task: a tenth of what the service says that it will take, within these."""
SPREAD_SECONDS = 1.0
"""Within which all of them begin."""
PATIENCE = Patience()


@dataclass(slots=True)
class Visit:
    """Seconds from the moment when it began; waits that the service asked for are in them."""

    who: str
    slow: bool = False
    task_ids: list[str] = field(default_factory=list)
    uploaded: float = 0.0
    submitted: float = 0.0
    completed: float = 0.0
    downloaded: float = 0.0
    fetched: int = 0
    """Tasks whose stems arrived, all of them right."""
    failure: str = ""
    asked: list[Asked] = field(default_factory=list)


@dataclass(eq=False)
class Person:
    """Somebody with an account. `listens`: hears the task's events; else asks every few seconds."""

    url: str
    email: str
    place: int
    listens: bool = True
    slowly: float = 0.0

    def __post_init__(self) -> None:
        self._way = Way(self.place, self.slowly)
        self._client = AsyncClient(
            self.url, email=self.email, password=PASSWORD, patience=PATIENCE, transport=self._way
        )
        self.visit = Visit(self.email, slow=self.slowly > 0)

    async def arrive(self) -> None:
        """Logged in."""
        await self._client.credits()
        self._way.asked.clear()

    async def come(self, song: Path, into: Path) -> Visit:
        """Never raises what the service did: the visit says it."""
        await asyncio.sleep(random.uniform(0, SPREAD_SECONDS))
        began, visit = time.monotonic(), self.visit
        try:
            upload = await self._client.upload(song)
            visit.uploaded = time.monotonic() - began
            ordered = await self._client.submit(upload)
            visit.task_ids.append(ordered.id)
            visit.submitted = time.monotonic() - began
            await self._follow(ordered.id)
            visit.completed = time.monotonic() - began
            await self._fetch(ordered.id, into)
            visit.downloaded = time.monotonic() - began
        except VocalRemoverError as error:
            visit.failure = f"{type(error).__name__}: {error}"
        return self._leave()

    def _leave(self) -> Visit:
        self.visit.asked = self._way.asked
        return self.visit

    async def _follow(self, task_id: str) -> None:
        """Raises TaskFailed."""
        if self.listens:
            await self._client.wait(task_id)
            return
        while not (task := await self._client.task(task_id)).finished:
            await asyncio.sleep(min(max(LOOK_SECONDS, (task.eta or 0) / 10), SELDOM))
        if task.status != "completed":
            raise TaskFailed(task)

    async def _fetch(self, task_id: str, into: Path) -> None:
        """The client compares each stem's SHA-256 with what the service says of it."""
        folder = into / task_id
        try:
            if await self._client.download(task_id, folder):
                self.visit.fetched += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    async def aclose(self) -> None:
        await self._client.aclose()
