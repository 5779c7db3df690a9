"""Who is next, and how long it takes until somebody is: one order, for claims and for what people are told.

Tenants take turns. In each round a tenant has as many turns as its plan says, and within a tenant the oldest task
is first. Nothing is stored for it: a tenant of `n` turns is as far back in the line as its n-th latest claim is
recent, so who waits moves forward with every claim of another, and none is passed by more than once a round.

A tenant that has as many tasks under way as it may is passed over. Places count its tasks all the same: one of them
may end at any moment, so a place is the most that can be before somebody, and never too good.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.line import repository
from backend.line.repository import Waiting as Waiting
from backend.models import Task

NO_PLANS: Mapping[str, int] = {}
"""Every tenant has one turn."""
LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Line:
    """The tenants that wait, as they are now."""

    waiting: Mapping[UUID, Waiting]
    turns: Mapping[str, int]

    def order(self) -> list[UUID]:
        """Tenants of which a task may be taken now, the next one first."""
        ready = [tenant_id for tenant_id, line in self.waiting.items() if line.room]
        return sorted(ready, key=lambda tenant_id: self._slots[tenant_id][0])

    def ahead(self, tenant_id: UUID, older: int) -> dict[UUID, int]:
        """How many tasks of each other tenant are taken before the one that has `older` of its own before it.

        The first round goes by earlier claims, and each later one repeats it without those who have nothing left.
        """
        if tenant_id not in self.waiting:  # its last task was taken meanwhile
            return {}
        mine = self._slots[tenant_id]
        rounds, turn = divmod(older, len(mine))
        counted = {}
        for other, line in self.waiting.items():
            if other != tenant_id:
                slots = self._slots[other]
                counted[other] = min(line.tasks, rounds * len(slots) + bisect_left(slots, mine[turn]))
        return counted

    def others_before(self, tenant_id: UUID, older: int) -> int:
        """The sum of `ahead`; of the first round without a look at each tenant, because every listener asks for it."""
        mine = self._slots.get(tenant_id, ())
        if older >= len(mine):
            return sum(self.ahead(tenant_id, older).values())
        return bisect_left(self._first_round, mine[older]) - older

    @cached_property
    def _first_round(self) -> Sequence[tuple[Any, ...]]:
        """The turns of all in it; who has fewer tasks than turns takes as many."""
        return sorted(slot for each, line in self.waiting.items() for slot in self._slots[each][: line.tasks])

    @cached_property
    def _slots(self) -> Mapping[UUID, Sequence[tuple[Any, ...]]]:
        """Sort keys of each tenant's turns in the next round, in order."""
        return {tenant_id: self._turns_of(line) for tenant_id, line in self.waiting.items()}

    def _turns_of(self, line: Waiting) -> Sequence[tuple[Any, ...]]:
        turns = self.turns.get(line.plan, 1)
        latest = line.served[0]
        tie = (latest is not None, latest or LONG_AGO, line.first)
        slots: list[tuple[Any, ...]] = []
        for turn, claimed in enumerate(reversed(line.served[:turns])):
            slots.append((0, turn, tie) if claimed is None else (1, claimed, tie))
        return slots


def look(session: Session, plans: Mapping[str, int], concurrent: int | None = None) -> Line:
    """`concurrent`: how many tasks of a tenant run at once where the operator has said nothing else for it."""
    found = repository.waiting(session, max(plans.values(), default=1), concurrent)
    return Line({line.tenant_id: line for line in found}, plans)


def ready(session: Session, concurrent: int | None = None) -> int:
    """How many tasks could be taken now."""
    return sum(line.room for line in repository.waiting(session, 0, concurrent))


def heads(session: Session, concurrent: int | None = None) -> dict[UUID, UUID]:
    """By tenant, the task that would be taken next, where one could be taken now."""
    return {each.tenant_id: each.first for each in repository.waiting(session, 0, concurrent) if each.room}


def has_room(session: Session, waiting: Waiting) -> bool:
    """Looked at again, one claim after the other: of several that saw room for one, one takes it."""
    return waiting.limit is None or repository.running_of(session, waiting.tenant_id) < waiting.limit


def position(session: Session, line: Line, task: Task) -> int:
    """How many queued tasks are taken before it."""
    mine = line.waiting.get(task.tenant_id)
    # Most tenants that wait have one task in the line: a crowd of listeners would ask once for each of them.
    older = 0 if mine is not None and mine.first == task.id else repository.before(session, task)[0]
    return older + line.others_before(task.tenant_id, older)


@dataclass(frozen=True, slots=True)
class Speeds:
    """Seconds of audio in a second of work, as measured."""

    paces: Mapping[str, tuple[float, float]]

    def of(self, model: str) -> float | None:
        """A model that never ran is taken for as fast as the others."""
        audio, work = self.paces.get(model, (0.0, 0.0))
        return audio / work if work > 0 else self.usual

    @property
    def usual(self) -> float | None:
        """Of all models, each as often as it was used lately."""
        work = sum(work for _, work in self.paces.values())
        return sum(audio for audio, _ in self.paces.values()) / work if work > 0 else None


def speeds(session: Session) -> Speeds:
    return Speeds(repository.paces(session))


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the forecasts of all who wait are made of."""

    line: Line
    speeds: Speeds
    running: Sequence[tuple[UUID, float, str]]
    """See `repository.running`."""


def outlook(session: Session, plans: Mapping[str, int], concurrent: int | None = None) -> Outlook:
    """`concurrent`: see `look`."""
    return Outlook(look(session, plans, concurrent), speeds(session), repository.running(session))


def forecast(session: Session, task: Task, model: str, seen: Outlook, slots: int) -> tuple[int, float | None]:
    """(how many queued tasks are taken before it, seconds until it is probably done or None when nothing is known).

    `slots` is how many tasks run at once. `seen` may be a moment old.
    """
    line, known = seen.line, seen.speeds
    older, seconds = repository.before(session, task)
    ahead = line.ahead(task.tenant_id, older)
    place = older + sum(ahead.values())
    usual, own = known.usual, known.of(model)
    if usual is None or own is None:
        return place, None
    running = [(whose, left / (known.of(kind) or usual)) for whose, left, kind in seen.running]
    # Of a tenant's tasks, as long as they are on average: to look at each would take the longer the longer the line.
    others = sum(line.waiting[each].seconds * count / line.waiting[each].tasks for each, count in ahead.items())
    wait = ((seconds + others) / usual + sum(left for _, left in running)) / max(1, slots)
    mine = line.waiting.get(task.tenant_id)
    if mine is not None and mine.limit is not None:
        before = seconds / usual + sum(left for whose, left in running if whose == task.tenant_id)
        wait = max(wait, before / min(mine.limit, max(1, slots)))
    return place, wait + task.seconds / own


def measured(session: Session, model: str, audio_seconds: float, work_seconds: float) -> None:
    """A task was completed: what it took tells how long others will take."""
    if work_seconds > 0:
        repository.measured(session, model, audio_seconds, work_seconds)
