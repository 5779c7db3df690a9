"""One task from claim to result. Whatever happens, its row says so and its credits are settled."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from backend import storage as keys
from backend.db import is_unreachable
from backend.task import lifecycle, options
from backend.task.lifecycle import Claim, StoredFile
from backend.upload.service import GRACE_SECONDS, decode_limits
from engine.chosen_stems import ChosenStems
from engine.errors import EngineError, SeparationCancelled
from engine.separate import Progress, separate
from engine.sink import DirectorySink
from workers.lease import Lease
from workers.room import EngineRoom

log = logging.getLogger(__name__)

Result = TypeVar("Result")

PERSIST_SECONDS = 300.0
"""How long a finished result waits for a database that is away."""

INTERNAL_ERROR = ("internal_error", "Something went wrong on our side.")
DISK_FULL = ("storage_full", "There was no room left for the stems.")
OUT_OF_MEMORY = ("out_of_memory", "The worker ran out of memory.")


def work(room: EngineRoom) -> bool:
    """Claim the next task and bring it to its end; False when there was nothing to do."""
    settings, current = room.settings.worker, room.wiring.settings
    claim = lifecycle.claim(
        room.wiring.database,
        room.name,
        settings.lease_seconds,
        current.queue.plans,
        current.tenant.concurrent_tasks,
    )
    if claim is None:
        return False
    log.info("task %s attempt %d: %s with %s", claim.task_id, claim.attempt, claim.source_name, claim.model)
    with Lease(room.wiring.database, claim, settings, lambda: room.must_stop) as lease:
        try:
            _separate(room, claim, lease)
        except SeparationCancelled:
            _interrupted(room, claim, lease)
        except EngineError as error:
            _fail(room, claim, lease, error.code, str(error), transient=error.transient)
        except MemoryError:
            _fail(room, claim, lease, *OUT_OF_MEMORY, transient=True)
        except OSError as error:
            log.exception("task %s", claim.task_id)
            reason = DISK_FULL if error.errno == errno.ENOSPC else INTERNAL_ERROR
            _fail(room, claim, lease, *reason, transient=True)
        except Exception:
            log.exception("task %s", claim.task_id)
            _fail(room, claim, lease, *INTERNAL_ERROR, transient=True)
    return True


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
    with wiring.storage.incoming(room.name) as folder, room.separator(claim.model) as separator:
        wish = options.from_row(claim.options, separator.spec.stems)
        sink = DirectorySink(folder, wish.format)
        receipt = separate(
            wiring.storage.path(claim.source_key),
            separator,
            ChosenStems(sink, wish.stems),
            limits=limits,
            info=claim.source,
            high_frequencies=wish.high_frequencies,
            gain_db=wish.gain_db,
            start_seconds=wish.start,
            duration_seconds=wish.duration,
            on_progress=tell,
            cancelled=lease.interrupted,
        ).to_json()
        written = folder / "receipt.json"
        written.write_text(json.dumps(receipt, indent=1), encoding="utf-8")
        media_type = wish.format.media_type
        files = [_store(room, claim, "stem", stem, sink.path(stem), media_type) for stem in wish.stems]
        files.append(_store(room, claim, "receipt", "receipt", written, "application/json"))
    lease.end()
    if _persist(lambda: lifecycle.complete(wiring.database, claim, receipt, files)):
        _remove_other_attempts(room, claim)
        log.info("task %s completed at %.1fx real time", claim.task_id, receipt["real_time_factor"])
    else:
        log.warning("task %s attempt %d came too late; its files are removed", claim.task_id, claim.attempt)
        _remove_files(room, claim)


def _store(room: EngineRoom, claim: Claim, kind: str, name: str, file: Path, media_type: str) -> StoredFile:
    key = keys.output_key(claim.source_name, claim.task_id, claim.attempt, file.name)
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    size = file.stat().st_size
    room.wiring.storage.adopt(file, key)
    return StoredFile(kind, name, key, media_type, size, digest)


def _interrupted(room: EngineRoom, claim: Claim, lease: Lease) -> None:
    state = lease.state
    lease.end()
    if state == "cancel":
        _persist(lambda: _cancel(room, claim))
        log.info("task %s cancelled", claim.task_id)
    elif state == "stop":
        _persist(lambda: lifecycle.give_back(room.wiring.database, claim, "worker_stopped"))
        log.info("task %s handed back", claim.task_id)
    else:
        log.warning("task %s attempt %d went to another worker", claim.task_id, claim.attempt)
    _remove_files(room, claim)
    if state == "stop":
        room.wiring.bell.ring()


def _cancel(room: EngineRoom, claim: Claim) -> bool:
    with room.wiring.database.write() as session:
        return lifecycle.cancel(session, claim.task_id, "processing", claim.attempt)


def _fail(room: EngineRoom, claim: Claim, lease: Lease, code: str, message: str, *, transient: bool) -> None:
    lease.end()
    maximum = room.settings.worker.max_attempts

    def fail() -> str | None:
        return lifecycle.fail(room.wiring.database, claim, code, message, transient=transient, max_attempts=maximum)

    status = _persist(fail)
    log.warning("task %s attempt %d: %s (%s), now %s", claim.task_id, claim.attempt, code, message, status)
    _remove_files(room, claim)
    if status == "queued":
        room.wiring.bell.ring()


def _remove_files(room: EngineRoom, claim: Claim) -> None:
    """Of this attempt; of all attempts when the task ended without a result; none when they are its result."""
    status, attempt = _persist(lambda: lifecycle.where(room.wiring.database, claim))
    task = keys.task_key(claim.source_name, claim.task_id)
    if status in ("failed", "cancelled"):
        room.wiring.storage.delete(task)
    elif (status, attempt) != ("completed", claim.attempt):
        # A commit whose confirmation was lost looks like a failure here, and its files are the result.
        room.wiring.storage.delete(f"{task}/{claim.attempt}")


def _remove_other_attempts(room: EngineRoom, claim: Claim) -> None:
    """What attempts that were killed have left."""
    task = keys.task_key(claim.source_name, claim.task_id)
    for attempt in room.wiring.storage.attempts(claim.source_name, claim.task_id):
        if attempt != claim.attempt:
            room.wiring.storage.delete(f"{task}/{attempt}")


def _persist(write: Callable[[], Result]) -> Result:
    """Run a last transaction, waiting for a database that is away: the work is done, only the row is missing."""
    give_up = time.monotonic() + PERSIST_SECONDS
    pause = 0.5
    while True:
        try:
            return write()
        except SQLAlchemyError as error:
            if not is_unreachable(error) or time.monotonic() > give_up:
                raise
            log.warning("the database is away, trying again in %.1f s", pause)
            time.sleep(pause)
            pause = min(pause * 2, 10.0)
