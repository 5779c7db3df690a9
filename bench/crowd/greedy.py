"""One tenant that orders as many songs at once as a whole crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx

from bench.crowd.service import PASSWORD
from bench.crowd.visit import LOOK_SECONDS, Person, Visit
from vocal_remover import VocalRemoverError

AT_ONCE = 2
"""Songs on their way, up or down."""
MOST_IN_AN_ORDER = 100


class Greedy(Person):
    """Its songs are there before the crowd comes, so that its orders all come at once."""

    async def prepare(self, songs: Sequence[Path]) -> None:
        turns = asyncio.Semaphore(AT_ONCE)

        async def send(song: Path) -> str:
            async with turns:
                return (await self._client.upload(song)).id

        self._songs = await asyncio.gather(*map(send, songs))
        self._way.asked.clear()

    async def order(self) -> None:
        """All of them, before anybody else orders anything."""
        # Not closed: the way is that of the other client, too.
        client = httpx.AsyncClient(base_url=f"{self.url}/api/v1", timeout=60, transport=self._way)
        who = {"email": self.email, "password": PASSWORD}
        token = (await client.post("/login", json=who)).raise_for_status().json()["access_token"]
        for start in range(0, len(self._songs), MOST_IN_AN_ORDER):
            body = {"upload_ids": self._songs[start : start + MOST_IN_AN_ORDER]}
            answer = await client.post("/tasks", json=body, headers={"Authorization": f"Bearer {token}"})
            self.visit.task_ids += answer.raise_for_status().json()["task_ids"]

    async def collect(self, into: Path) -> Visit:
        """Every task's stems, once it is completed."""
        turns = asyncio.Semaphore(AT_ONCE)

        async def fetch(task_id: str) -> None:
            async with turns:
                while not (await self._client.task(task_id)).finished:
                    await asyncio.sleep(LOOK_SECONDS)
                await self._fetch(task_id, into)

        try:
            await asyncio.gather(*map(fetch, self.visit.task_ids))
        except VocalRemoverError as error:
            self.visit.failure = f"{type(error).__name__}: {error}"
        return self._leave()
