"""Leading a long song: planning its parts, making them beside whoever helps, and joining what is kept of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import storage as keys
from backend.logs import here
from backend.models import Part
from backend.part import service as parts
from backend.part.service import Plan, SharedSong
from backend.task.lifecycle import Claim
from backend.task.options import Options
from engine.audio import Samples
from engine.errors import PatchCorrupt, SeparationCancelled
from engine.kept_patch import read_patch
from engine.models.base import Separator
from engine.parts import fingerprint
from engine.separate import patch_count
from workers.hearing import heard
from workers.lease import Lease
from workers.parts import Maker, in_time, repeating
from workers.room import EngineRoom

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
"""How often a patch that is not there yet is looked for."""
ANOTHERS = "The task is another worker's by now."
NEARLY = 0.99
"""The most that is said of the progress while stems are still written."""


@contextmanager
def leading(
    room: EngineRoom, claim: Claim, lease: Lease, source: Path, wish: Options, separator: Separator, folder: Path
) -> Iterator[Leader | None]:
    """Somebody who knows a long song's patches, for `separate`; None for a song that is made in one go. `source` is
    the song, in `folder` there is room to write."""
    longest = room.settings.worker.shared_seconds
    if not longest or wish.seconds_of(claim.source.seconds) <= longest:
        yield None
        return
    song = SharedSong(
        claim.task_id,
        claim.tenant_id,
        claim.source_name,
        claim.source_key,
        claim.source,
        claim.model,
        claim.options,
        fingerprint(separator, wish.high_frequencies),
    )
    patches = patch_count(separator, claim.source, wish.start, wish.duration)
    each = max(1, round(room.settings.worker.part_seconds * separator.spec.rate / separator.patch_samples))
    plan = in_time(
        room,
        lambda session: parts.plan(session, song, claim.step_id, claim.attempt, patches=patches, each=each),
        lease.interrupted,
    )
    if plan is None:
        raise SeparationCancelled(ANOTHERS)
    drop(room, song, claim, lease, plan)
    plan = checked(room, song, claim, lease, plan)
    room.wiring.bell.ring()
    leader = Leader(room, claim, lease, song, plan, patches)
    try:
        with leader.at_work(source, wish, separator, folder):
            yield leader
    except PatchCorrupt:
        leader.redo()
        raise


def drop(room: EngineRoom, song: SharedSong, claim: Claim, lease: Lease, plan: Plan) -> None:
    """Remove the files of parts that the plan has removed. Whoever was paused since then may have a successor with
    those very fingerprints, so it is asked before each; what is removed too late all the same is made again."""
    for other in plan.dropped:
        if not in_time(room, lambda session: parts.leads(session, song, claim.attempt), lease.interrupted):
            raise SeparationCancelled(ANOTHERS)
        key = keys.parts_key(song.source_name, song.task_id, other)
        heard(partial(room.wiring.storage.delete, key), lease.interrupted)


def checked(room: EngineRoom, song: SharedSong, claim: Claim, lease: Lease, plan: Plan) -> Plan:
    """The plan, less patches that rows count and that are not in the storage: rows may come from a backup. Raises
    StorageAway."""
    if not plan.kept:
        return plan
    folder = keys.parts_key(song.source_name, song.task_id, song.fingerprint)
    there = heard(lambda: {stored.key for stored in room.wiring.storage.listed(folder)}, lease.interrupted)
    counted = (part.first_patch + each for part in plan.parts for each in range(part.patches_done))
    gone = {
        patch
        for patch in counted
        if keys.parts_key(song.source_name, song.task_id, song.fingerprint, patch) not in there
    }
    if not gone:
        return plan
    log.warning("task %s: %d of %d patches are gone, and made again", song.task_id, len(gone), plan.kept)
    rows = in_time(room, lambda session: _redone(session, song, claim, gone), lease.interrupted)
    return replace(plan, parts=rows, kept=sum(row.patches_done for row in rows))


def _redone(session: Session, song: SharedSong, claim: Claim, patches: Collection[int]) -> Sequence[Part]:
    """The rows, when those with these patches have been queued again."""
    if not parts.redo(session, song, claim.attempt, patches):
        raise SeparationCancelled(ANOTHERS)
    return parts.of_task(session, song)


class Leader:
    """What is there of a song's patches, by the word of this worker's own maker and of the parts' rows."""

    def __init__(
        self, room: EngineRoom, claim: Claim, lease: Lease, song: SharedSong, plan: Plan, patches: int
    ) -> None:
        self._room, self._claim, self._lease, self._song = room, claim, lease, song
        self._patches, self._resumed = patches, plan.kept
        self._rows: Sequence[Part] = plan.parts
        self._workers: set[str] = set()
        self._own: set[int] = set()
        self._asked = 0
        self._again: set[int] = set()
        """Patches that were kept and had to be made again."""
        self._looking = threading.Lock()
        """Held from reading the rows until they are known here: an older look must not bring back what is gone."""
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._failure: BaseException | None = None

    @contextmanager
    def at_work(self, source: Path, wish: Options, separator: Separator, folder: Path) -> Iterator[None]:
        """Parts are made, leases kept and progress told, until the context ends."""
        room, song = self._room, self._song
        maker = Maker(
            room, song, source, wish, separator, folder, leads=True, stopped=self._stopped, on_kept=self._on_kept
        )

        def renew() -> None:
            maker.renew()
            self._look()

        name = f"parts of {song.task_id}"
        thread = threading.Thread(target=here(lambda: self._make(maker)), name=name, daemon=True)
        with repeating(renew, room.settings.worker.renew_seconds, name):
            thread.start()
            try:
                yield
            finally:
                self._closing.set()
                thread.join()

    def kept(self, patch: int) -> Samples:
        """A patch's samples, (frames, columns), as soon as somebody has made it. One that was kept and is gone or
        damaged is made again.

        Raises SeparationCancelled, PatchCorrupt for one of which that is true a second time, and what making this
        worker's own parts raised.
        """
        self._asked = patch
        try:
            return self._awaited(patch)
        except PatchCorrupt as error:
            if patch in self._again:
                raise
            log.warning("task %s: patch %d is made again: %s", self._song.task_id, patch, error)
        self._again.add(patch)
        self.redo()
        return self.kept(patch)

    def _awaited(self, patch: int) -> Samples:
        while not self._is_there(patch):
            if self._failure is not None:
                raise self._failure
            if self._lease.interrupted():
                raise SeparationCancelled("Given up while the parts were made.")
            self._changed.wait(LOOK_SECONDS)
            self._changed.clear()
        song = self._song
        key = keys.parts_key(song.source_name, song.task_id, song.fingerprint, patch)

        def read() -> Samples:
            with self._room.wiring.storage.local(key, self._room.name) as file:
                return read_patch(file)

        try:
            return heard(read, self._lease.interrupted)
        except FileNotFoundError:
            raise PatchCorrupt(f"Patch {patch} was kept and is gone.") from None

    def redo(self) -> None:
        """Forget the patch that was asked for last, and those behind it in its part."""
        patch = self._asked
        with self._looking:
            self._rows = in_time(
                self._room, lambda session: _redone(session, self._song, self._claim, [patch]), self._lease.interrupted
            )
            self._own.discard(patch)

    def receipt(self) -> dict[str, int]:
        """How the song was made. `resumed_patches` were there already when this attempt began."""
        with suppress(SQLAlchemyError):  # the work is done
            self._look()
        return {
            "ranges": len(self._rows),
            "workers": len(self._workers),
            "patches": self._done(),
            "resumed_patches": self._resumed,
        }

    def _make(self, maker: Maker) -> None:
        try:
            while not self._stopped():  # what is complete may have to be made again
                if parts.entry(self._rows, leads=True) is None or not maker.run():
                    self._closing.wait(LOOK_SECONDS)
        except SeparationCancelled:
            pass
        except BaseException as error:
            self._failure = error

    def _stopped(self) -> bool:
        return self._closing.is_set() or self._lease.interrupted()

    def _on_kept(self, patch: int) -> None:
        self._own.add(patch)
        self._changed.set()

    def _is_there(self, patch: int) -> bool:
        if patch in self._own:
            return True
        rows = self._rows
        if any(0 <= patch - row.first_patch < row.patches_done for row in rows):
            return True
        if all(row.status == "completed" for row in rows):
            raise PatchCorrupt(f"The song has a patch {patch}, which nobody has made.")
        return False

    def _look(self) -> None:
        """Also for workers that are silent: it is this one that waits for them. Raises SQLAlchemyError."""
        database, song = self._room.wiring.database, self._song
        with self._looking:
            with database.read() as session:
                rows = parts.of_task(session, song)
                silent = any(row.status == "processing" for row in rows) and parts.any_expired(session, song)
            if not rows:  # the task is over: the lease will know
                return
            self._rows = rows
        if silent:
            with database.write() as session:
                parts.rescue_expired(session, song)
        self._workers |= {row.worker for row in rows if row.worker and row.status != "queued"}
        self._changed.set()
        busy = len({row.worker for row in rows if row.status == "processing"})
        stage = f"separating, {busy} workers" if busy > 1 else "separating"
        self._lease.tell(min(NEARLY, self._done() / self._patches), stage)

    def _done(self) -> int:
        return sum(row.patches_done for row in self._rows)
