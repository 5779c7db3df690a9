"""A crowd comes to the service: everybody within a second, each with a song of their own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench.crowd.greedy import Greedy
from bench.crowd.proof import Proof, prove
from bench.crowd.service import Service
from bench.crowd.songs import write_songs
from bench.crowd.visit import Person, Visit
from bench.crowd.way import address

Scenario = Literal["plain", "slow", "greedy"]
SLOW_SECONDS = 180.0
LOGINS_AT_ONCE = 4
MEMORY = Path("/dev/shm")
"""People's own disks are none of the service's: what they fetch lies here while they look at it."""


@dataclass(frozen=True, slots=True)
class Plan:
    users: int
    seconds: float
    """Of each song."""
    scenario: Scenario = "plain"
    slow: int = 10
    """People whose songs trickle, beside the others."""
    slow_seconds: float = SLOW_SECONDS


@dataclass(slots=True)
class Outcome:
    title: str
    plan: Plan
    visits: Sequence[Visit]
    proof: Proof
    peaks: dict[str, int] = field(default_factory=dict)
    client_cpu: float = 0.0
    """Seconds that the crowd itself took, on the same cores."""
    greedy: Visit | None = None
    engine: float | None = None
    """Songs a minute of the engine alone."""


def run(plan: Plan, *, embedded: bool) -> Outcome:
    """The whole of it on a service of its own; raises RuntimeError when that does not start."""
    with tempfile.TemporaryDirectory(prefix="vr-crowd-") as made:
        folder = Path(made)
        songs = write_songs(folder, plan.users, plan.seconds)
        slow = write_songs(folder, plan.slow if plan.scenario == "slow" else 0, plan.seconds, "Slow")
        greedy = write_songs(folder, plan.users if plan.scenario == "greedy" else 0, plan.seconds, "Greedy")
        with Service(embedded=embedded) as service:
            for place in range(len(songs) + len(slow) + bool(greedy)):
                service.account(_email(place), address(place))
            cpu = sum(os.times()[:2])
            visits, other = asyncio.run(_visit(service.url, songs, slow, greedy, plan.slow_seconds))
            cpu = sum(os.times()[:2]) - cpu
            everybody = [*visits, *([other] if other else [])]
            proof = prove(service.settings, {task_id for visit in everybody for task_id in visit.task_ids})
    return Outcome(service.title, plan, visits, proof, service.peaks, cpu, other)


async def _visit(
    url: str, songs: Sequence[Path], slow: Sequence[Path], greedy: Sequence[Path], slow_seconds: float
) -> tuple[list[Visit], Visit | None]:
    people = [Person(url, _email(place), place, listens=place % 2 == 0) for place in range(len(songs))]
    people += [Person(url, _email(place), place, slowly=slow_seconds)
               for place in range(len(songs), len(songs) + len(slow))]  # fmt: skip
    other = Greedy(url, _email(len(people)), len(people)) if greedy else None
    turns = asyncio.Semaphore(LOGINS_AT_ONCE)

    async def arrive(person: Person) -> None:
        async with turns:
            await person.arrive()

    async with AsyncExitStack() as stack:
        for person in [*people, *([other] if other is not None else [])]:
            stack.push_async_callback(person.aclose)
        memory = MEMORY if MEMORY.is_dir() else None
        into = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=memory, prefix="vr-crowd-")))
        await asyncio.gather(*map(arrive, people))
        if other is not None:
            await other.arrive()
            await other.prepare(greedy)
            await other.order()
        coming = [person.come(song, into) for person, song in zip(people, [*songs, *slow], strict=True)]
        if other is None:
            return await asyncio.gather(*coming), None
        left, *visits = await asyncio.gather(other.collect(into), *coming)
        return visits, left


def _email(place: int) -> str:
    return f"crowd-{place}@example.com"
