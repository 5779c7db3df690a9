"""One task from claim to result. Whatever happens, its row says so and its credits are settled."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from backend import storage as keys
from backend.storage import StorageAway, StorageFailed, StorageRefused
from backend.task import lifecycle, options
from backend.task.lifecycle import Claim, StoredFile
from backend.upload.service import GRACE_SECONDS, decode_limits
from engine.chosen_stems import ChosenStems
from engine.errors import EngineError, SeparationCancelled
from engine.separate import Progress, separate
from engine.sink import DirectorySink
from workers.failures import reason
from workers.hearing import LOOK_SECONDS, heard
from workers.help import help_out
from workers.lead import leading
from workers.lease import Lease
from workers.patience import LONGEST_PAUSE_SECONDS, patiently
from workers.room import EngineRoom
from workers.seen import about, at_work, fetched, staged

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PERSIST_SECONDS = 300.0
"""How long a finished result waits for a database or a storage that is away."""

HEARING_SECONDS = 0.5
"""The longest pause between two tries to store a result: its task may be cancelled meanwhile."""

REMOVE_SECONDS = 10.0
"""How long a worker waits until files are removed; where the storage hangs, the sweep does it later."""

STORAGE_SECONDS = 5.0
"""How long a worker waits before it asks for another task, when the storage could not be used for this one."""

FILE_SECONDS = 30.0
"""How long it holds a task with whose file the storage fails. A server that is busy needs its time, and without it
several workers would use up all attempts in a moment."""


def work(room: EngineRoom) -> bool:
    """Claim the next task and bring it to its end, or help with a long song; False when there was nothing to do."""
    asked = time.time()
    lease, helped = _claim(room), False
    if lease is None:
        helped, lease = help_out(room, lambda: _claim_if_ready(room))
        asked = time.time()
    if lease is None:
        return helped
    with lease, at_work(room, lease.claim, asked):
        _work(room, lease.claim, lease)
    return True


def _work(room: EngineRoom, claim: Claim, lease: Lease) -> None:
    log.info("task %s attempt %d: %s with %s", claim.task_id, claim.attempt, claim.source_name, claim.model)
    try:
        _separate(room, claim, lease)
    except SeparationCancelled:
        _interrupted(room, claim, lease)
    except EngineError as error:
        _fail(room, claim, lease, error.code, str(error), transient=error.transient)
    except StorageRefused as error:
        _fail(room, claim, lease, error.code, str(error), transient=True)
        _pause(room)  # a rule that is wrong for all files is not to fail all that waits in a moment
    except StorageFailed as error:
        _fail_in_a_while(room, claim, lease, error)
    except StorageAway:
        _wait_for_storage(room, claim, lease)
    except Exception as error:
        log.exception("task %s", claim.task_id)
        _fail(room, claim, lease, *reason(error), transient=True)


def _claim(room: EngineRoom) -> Lease | None:
    """The next task, which is this worker's from now on."""
    current = room.wiring.settings
    seconds, most = room.settings.worker.lease_seconds, current.tenant.concurrent_tasks
    claim = lifecycle.claim(room.wiring.database, room.name, seconds, current.queue.plans, most)
    if claim is None:
        return None
    with about(claim):
        lease = Lease(room.wiring.database, claim, room.settings.worker, lambda: room.stopping.due)
        try:
            return lease.begin()
        except Exception as error:
            log.exception("task %s: no lease could be kept", claim.task_id)
            _fail(room, claim, lease, *reason(error), transient=True)
            return None


def _claim_if_ready(room: EngineRoom) -> Lease | None:
    """The same for who asks again and again."""
    with room.wiring.database.read() as session:
        ready = lifecycle.ready(session, room.wiring.settings.tenant.concurrent_tasks)
    return _claim(room) if ready else None


def _separate(room: EngineRoom, claim: Claim, lease: Lease) -> None:
    wiring = room.wiring

    def tell_fetched(have: int, whole: int | None) -> None:
        if lease.interrupted():
            raise SeparationCancelled("Given up while the weights were fetched.")
        lease.tell(0.0, f"fetching weights, {have / 1e6:.0f} MB")

    room.fetch_weights(claim.model, tell_fetched)
    lease.tell(0.0, "loading model")

    def tell(progress: Progress) -> None:
        lease.tell(progress.fraction, progress.stage)

    limits = decode_limits(room.settings, claim.source.seconds + GRACE_SECONDS)
    with (
        wiring.storage.incoming(room.name) as folder,
        fetched(room, lease) as source,
        room.separator(claim.model) as separator,
    ):
        wish = options.from_row(claim.options, separator.spec.stems)
        sink = DirectorySink(folder, wish.format)
        with leading(room, claim, lease, source, wish, separator, folder) as leader, staged(room) as stages:
            receipt = separate(
                source,
                separator,
                ChosenStems(sink, wish.stems),
                limits=limits,
                info=claim.source,
                high_frequencies=wish.high_frequencies,
                gain_db=wish.gain_db,
                start_seconds=wish.start,
                duration_seconds=wish.duration,
                kept=leader.kept if leader else None,
                on_progress=None if leader else tell,
                cancelled=lease.interrupted,
                stages=stages,
            ).to_json()
        if leader:
            receipt[lifecycle.PARTS] = leader.receipt()
        written = folder / "receipt.json"
        written.write_text(json.dumps(receipt, indent=1), encoding="utf-8")
        media_type = wish.format.media_type
        with wiring.tracing.step("store"):
            files = [_store(room, claim, lease, "stem", stem, sink.path(stem), media_type) for stem in wish.stems]
            files.append(_store(room, claim, lease, "receipt", "receipt", written, "application/json"))
    lease.end()
    with wiring.tracing.step("commit"):
        completed = _persist(room, lambda: lifecycle.complete(wiring.database, claim, receipt, files))
    if completed:
        _remove_other_attempts(room, claim)
        log.info("task %s completed at %.1fx real time", claim.task_id, receipt["real_time_factor"])
    else:
        log.warning("task %s attempt %d came too late; its files are removed", claim.task_id, claim.attempt)
        _remove_files(room, claim)


def _store(
    room: EngineRoom, claim: Claim, lease: Lease, kind: str, name: str, file: Path, media_type: str
) -> StoredFile:
    key = keys.output_key(claim.source_name, claim.task_id, claim.attempt, file.name)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    size = file.stat().st_size

    storage = room.wiring.storage

    def adopt() -> None:
        heard(lambda: storage.adopt(file, key), lease.interrupted, lambda: storage.delete(key))

    _persist(room, adopt, HEARING_SECONDS)
    return StoredFile(kind, name, key, media_type, size, digest)


def _interrupted(room: EngineRoom, claim: Claim, lease: Lease) -> None:
    state = lease.state
    lease.end()
    if state == "stop":
        _persist(room, lambda: lifecycle.give_back(room.wiring.database, claim, "worker_stopped"))
        log.info("task %s handed back", claim.task_id)
        room.wiring.bell.ring()
    else:
        log.info("task %s attempt %d was cancelled, or went to another worker", claim.task_id, claim.attempt)
    _remove_files(room, claim)


def _wait_for_storage(room: EngineRoom, claim: Claim, lease: Lease) -> None:
    """The task goes back to the queue, and no attempt of it has failed; this worker asks for none for a moment."""
    lease.end()
    _persist(room, lambda: lifecycle.give_back(room.wiring.database, claim, StorageAway.code))
    log.warning("task %s handed back: the storage can't be used", claim.task_id)
    _remove_files(room, claim)
    _pause(room)


def _fail_in_a_while(room: EngineRoom, claim: Claim, lease: Lease, error: StorageFailed) -> None:
    """Unless this worker is to stop meanwhile: then another one tries, and no attempt has failed."""
    until = time.monotonic() + FILE_SECONDS
    while time.monotonic() < until and not (lease.interrupted() or room.stopping.told):
        time.sleep(LOOK_SECONDS)
    if room.stopping.told:
        _wait_for_storage(room, claim, lease)
    else:
        _fail(room, claim, lease, error.code, str(error), transient=True)


def _pause(room: EngineRoom) -> None:
    if not room.stopping.told:
        time.sleep(STORAGE_SECONDS)


def _fail(room: EngineRoom, claim: Claim, lease: Lease, code: str, message: str, *, transient: bool) -> None:
    lease.end()
    maximum = room.settings.worker.max_attempts

    def fail() -> str | None:
        return lifecycle.fail(room.wiring.database, claim, code, message, transient=transient, max_attempts=maximum)

    room.wiring.tracing.failed(code)
    status = _persist(room, fail)
    log.warning("task %s attempt %d: %s (%s), now %s", claim.task_id, claim.attempt, code, message, status)
    _remove_files(room, claim)
    if status == "queued":
        room.wiring.bell.ring()


def _remove_files(room: EngineRoom, claim: Claim) -> None:
    """Of this attempt; of all attempts when the task ended without a result; none when they are its result."""
    status, attempt = _persist(room, lambda: lifecycle.where(room.wiring.database, claim))
    task = keys.task_key(claim.source_name, claim.task_id)
    if status in ("failed", "cancelled"):
        _delete(room, task)
    elif (status, attempt) != ("completed", claim.attempt):
        # A commit whose confirmation was lost looks like a failure here, and its files are the result.
        _delete(room, f"{task}/{claim.attempt}")


def _remove_other_attempts(room: EngineRoom, claim: Claim) -> None:
    """What attempts that were killed have left, and the parts."""
    _delete(room, keys.parts_key(claim.source_name, claim.task_id))
    task = keys.task_key(claim.source_name, claim.task_id)
    for attempt in room.wiring.storage.attempts(claim.source_name, claim.task_id):
        if attempt != claim.attempt:
            _delete(room, f"{task}/{attempt}")


def _delete(room: EngineRoom, key: str) -> None:
    give_up = time.monotonic() + REMOVE_SECONDS
    with suppress(SeparationCancelled):
        heard(lambda: room.wiring.storage.delete(key), lambda: time.monotonic() > give_up)


def _persist(room: EngineRoom, write: Callable[[], Result], longest_pause: float = LONGEST_PAUSE_SECONDS) -> Result:
    """Put down a result, waiting for a database or a storage that is away: the work is done.

    A worker that must stop waits no longer: the lease ends, and another does it again.
    """
    give_up = time.monotonic() + PERSIST_SECONDS
    return patiently(write, lambda: time.monotonic() > give_up or room.stopping.due, longest_pause)
