"""What is seen from outside of a task's way through a worker: its span with those of its steps, and its log lines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from backend import logs
from backend.part.service import SharedSong
from backend.task.lifecycle import Claim
from engine.stages import Stages
from workers.failures import SongMissing
from workers.hearing import heard
from workers.lease import Lease
from workers.room import EngineRoom


def about(claim: Claim) -> AbstractContextManager[None]:
    """For log lines."""
    return logs.about(**_facts(claim))


@contextmanager
def at_work(room: EngineRoom, claim: Claim, asked: float) -> Iterator[None]:
    """`asked`: when this worker began to look for a task (`time.time`)."""
    facts, tracing = _facts(claim), room.wiring.tracing
    with (
        about(claim),
        tracing.task(claim.traceparent, "task", asked, **facts, model=claim.model, worker=room.name),
    ):
        tracing.was("claim", asked, time.time())
        yield


@contextmanager
def helping(room: EngineRoom, song: SharedSong) -> Iterator[None]:
    facts: dict[str, str | int] = {"task": str(song.task_id), "tenant": str(song.tenant_id)}
    with (
        logs.about(**facts),
        room.wiring.tracing.task(song.traceparent, "help", None, **facts, model=song.model, worker=room.name),
    ):
        yield


@contextmanager
def fetched(room: EngineRoom, lease: Lease) -> Iterator[Path]:
    """The song, where it can be read. Raises SeparationCancelled, SongMissing, StorageAway."""
    local = room.wiring.storage.local(lease.claim.source_key, room.name)
    with ExitStack() as stack:
        with room.wiring.tracing.step("fetch"):
            try:
                song = heard(lambda: stack.enter_context(local), lease.interrupted, stack.close)
            except FileNotFoundError as error:
                raise SongMissing("The song is not in the storage any more. Send it again.") from error
        yield song


@contextmanager
def staged(room: EngineRoom) -> Iterator[Stages]:
    """A span for each stage of a separation, from its first beginning to its last end; they run side by side."""
    stages = Stages()
    clock = time.time() - time.perf_counter()
    try:
        yield stages
    finally:
        for name, (began, ended) in stages.extents.items():
            room.wiring.tracing.was(name, clock + began, clock + ended, busy_seconds=stages.seconds[name])


def _facts(claim: Claim) -> dict[str, str | int]:
    return {"task": str(claim.task_id), "attempt": claim.attempt, "tenant": str(claim.tenant_id)}
