"""A long song in parts: ranges of its patches, each separated by whichever worker takes it.

The worker that has the task leads: it plans the parts, takes them itself, and joins what is kept of them. Others, of
the same fingerprint, take parts while no task waits for them. What is kept outlives every worker: the next one that
leads goes on from there. The rows go with the transaction that ends the task.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from backend.models import Part
from backend.part import repository
from backend.upload import service as uploads
from engine.audio import AudioInfo

MOST_PARTS = 200
"""Of one song; those of a very long one are longer instead."""


@dataclass(frozen=True, slots=True)
class SharedSong:
    """What a worker needs to know to make parts of a task."""

    task_id: UUID
    tenant_id: UUID
    source_name: str
    source_key: str
    source: AudioInfo
    model: str
    options: Mapping[str, Any]
    fingerprint: str
    traceparent: str | None = None
    """Of the request that ordered it."""


@dataclass(frozen=True, slots=True)
class Plan:
    parts: Sequence[Part]
    kept: int
    """Patches that earlier attempts have left."""
    dropped: frozenset[str]
    """Fingerprints of parts that were removed: their files are of no use."""


def plan(session: Session, song: SharedSong, step_id: UUID, attempt: int, *, patches: int, each: int) -> Plan | None:
    """The parts of a song of about `patches` patches: those of an earlier attempt where it had the same fingerprint,
    else new ones of `each` patches, the last one to the song's end. None when another worker has the task."""
    if not repository.leads(session, song.task_id, attempt):
        return None
    found = repository.of_task(session, song.tenant_id, song.task_id)
    dropped = frozenset(part.fingerprint for part in found) - {song.fingerprint}
    if found and not dropped:
        return Plan(found, sum(part.patches_done for part in found), dropped)
    repository.remove(session, song.tenant_id, song.task_id)
    each = max(each, math.ceil(patches / MOST_PARTS))
    starts = range(0, patches, each)
    parts = [
        Part(
            tenant_id=song.tenant_id,
            task_id=song.task_id,
            step_id=step_id,
            position=position,
            first_patch=first,
            patches=None if first == starts[-1] else each,
            fingerprint=song.fingerprint,
        )
        for position, first in enumerate(starts)
    ]
    repository.add(session, parts)
    return Plan(parts, 0, dropped)


def leads(session: Session, song: SharedSong, attempt: int) -> bool:
    """Whether this attempt still has the task."""
    return repository.leads(session, song.task_id, attempt)


def of_task(session: Session, song: SharedSong) -> list[Part]:
    """In their order; none once the task is over."""
    return repository.of_task(session, song.tenant_id, song.task_id)


def enter(session: Session, song: SharedSong, worker: str, lease_seconds: float, *, leads: bool) -> Part | None:
    """Take the part at which to begin, if there is one for this worker. See `entry`.

    One of which all is kept already, because its worker came no further than to count it, is completed on the way.
    """
    parts = [part for part in of_task(session, song) if part.fingerprint == song.fingerprint]
    while (part := entry(parts, leads=leads)) is not None:
        taken = repository.take(session, part.id, worker, lease_seconds)
        if taken is not None:
            if taken.patches is None or taken.patches_done < taken.patches:
                return taken
            repository.complete(session, taken.id, taken.attempt, taken.patches)
        parts.remove(part)  # complete, or another was quicker
    return None


def has_entry(session: Session, song: SharedSong) -> bool:
    """Whether a worker that helps would find a part now."""
    return entry(of_task(session, song), leads=False) is not None


def entry(parts: Sequence[Part], *, leads: bool) -> Part | None:
    """Where to begin so that as much as possible lies before one: decoding up to there has its price, and who is
    there goes on to the next part without it.

    A run of queued parts behind one that somebody makes is left to them up to its middle; one that nobody comes to
    is begun at its start. A part in which a worker failed is for the one that leads alone.
    """
    best: tuple[int, Part] | None = None
    for run, followed in _runs(parts, leads):
        begin = len(run) // 2 if followed else 0
        gain = len(run) - begin if not followed or len(run) > 1 else 0
        if gain > (best[0] if best else 0):
            best = gain, run[begin]
    return best[1] if best else None


def go_on(
    session: Session, song: SharedSong, part: Part, worker: str, lease_seconds: float, *, leads: bool
) -> Part | None:
    """Complete a part; the one behind it, if it is free and nothing of it is kept: then it is taken."""
    if not repository.complete(session, part.id, part.attempt, part.patches or 0):
        return None
    following = next((each for each in of_task(session, song) if each.position == part.position + 1), None)
    if following is None or not _is_free(following, leads) or following.patches_done:
        return None
    return repository.take(session, following.id, worker, lease_seconds)


def end(session: Session, song: SharedSong, part: Part, patches_done: int) -> None:
    """Complete the part in which the song ended, and those behind it: the song is shorter than was thought."""
    if repository.complete(session, part.id, part.attempt, patches_done):
        repository.complete_behind(session, song.tenant_id, song.task_id, part.position)


def renew(session: Session, part: Part, patches_done: int, lease_seconds: float) -> bool:
    """Keep the lease and note what is kept by now; False when there is nothing to go on for."""
    return repository.renew(session, part.id, part.attempt, patches_done, lease_seconds)


def give_back(session: Session, part: Part, patches_done: int, *, failed: bool = False) -> None:
    repository.give_back(session, part.id, part.attempt, patches_done, failed=failed)


def redo(session: Session, song: SharedSong, attempt: int, patches: Collection[int]) -> bool:
    """Have these patches made again, and what follows them in their parts, whoever has those; False, and nothing
    happens, where another attempt has the task."""
    if not leads(session, song, attempt):
        return False
    for part in of_task(session, song):
        end = math.inf if part.patches is None else part.first_patch + part.patches
        first = min((patch for patch in patches if part.first_patch <= patch < end), default=None)
        if first is not None:
            repository.redo(session, part.id, min(part.patches_done, first - part.first_patch))
    return True


def any_expired(session: Session, song: SharedSong | None = None) -> bool:
    """Of this song, or of any."""
    return repository.any_expired(session, song.task_id if song else None)


def rescue_expired(session: Session, song: SharedSong | None = None) -> int:
    """Give the parts of silent workers back, of this song or of all; how many there were."""
    return repository.rescue_expired(session, song.task_id if song else None)


def rescue_own(session: Session, worker: str) -> int:
    """What a worker held before it died, when it starts again."""
    return repository.rescue_own(session, worker)


def wanted(session: Session, worker: str) -> list[SharedSong]:
    """Songs in which this worker could help, if it has what it takes; the oldest first."""
    return [
        SharedSong(
            task_id=found.task.id,
            tenant_id=found.task.tenant_id,
            source_name=found.task.source_name,
            source_key=found.upload.storage_key,
            source=uploads.audio_info(found.upload),
            model=found.step.model,
            options=found.step.options,
            fingerprint=found.fingerprint,
            traceparent=found.task.traceparent,
        )
        for found in repository.wanted(session, worker)
    ]


def count_wanted(session: Session, worker: str) -> int:
    return repository.count_wanted(session, worker)


def remove(session: Session, tenant_id: UUID, task_id: UUID) -> None:
    """In the transaction that ends the task; the files go after it."""
    repository.remove(session, tenant_id, task_id)


def remove_finished(session: Session) -> int:
    """What workers of a release without parts have left of tasks that they ended."""
    return repository.remove_finished(session)


def _runs(parts: Sequence[Part], leads: bool) -> Iterator[tuple[list[Part], bool]]:
    """Free parts that follow on each other, and whether somebody makes the one before them and may go on."""
    run: list[Part] = []
    followed = False
    previous: Part | None = None
    for part in parts:
        adjacent = previous is not None and part.position == previous.position + 1
        free = _is_free(part, leads)
        if run and not (free and adjacent):
            yield run, followed
            run = []
        if free:
            if not run:
                busy = previous is not None and previous.status == "processing"
                followed = adjacent and busy and _is_free(part, leads=False)
            run.append(part)
        previous = part
    if run:
        yield run, followed


def _is_free(part: Part, leads: bool) -> bool:
    return part.status == "queued" and (leads or not part.failures)
