"""Making parts of a long song: what the worker that leads it and those that help have in common."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend import storage as keys
from backend.db import is_unreachable
from backend.logs import here
from backend.models import Part
from backend.part import service as parts
from backend.part.service import SharedSong
from backend.storage import StorageAway
from backend.task.options import Options
from backend.upload.service import GRACE_SECONDS, decode_limits
from engine.audio import Samples
from engine.errors import SeparationCancelled
from engine.kept_patch import write_patch
from engine.models.base import Separator
from engine.parts import separate_patches
from workers.hearing import heard
from workers.patience import patiently
from workers.room import EngineRoom

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY_SECONDS = 0.5
"""Between two tries, while the database is away."""


class Maker:
    """One worker at one song's parts: one at a time, as long as nobody says `stopped`.

    A patch is kept, in the storage, before anything counts it. `run` and `renew` are called by threads of their own.
    """

    def __init__(
        self,
        room: EngineRoom,
        song: SharedSong,
        source: Path,
        wish: Options,
        separator: Separator,
        folder: Path,
        *,
        leads: bool,
        stopped: Callable[[], bool],
        on_kept: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._room, self._song, self._source = room, song, source
        self._wish, self._separator, self._folder = wish, separator, folder
        self._leads, self._stopped, self._on_kept = leads, stopped, on_kept
        self._lease_seconds = room.settings.worker.lease_seconds
        self._lock = threading.Lock()
        """Held from a change in the database until it is known here."""
        self._part: Part | None = None
        self._done = 0

    def run(self) -> bool:
        """Make a part, and those behind it that are free; False when there was none for this worker.

        Raises SeparationCancelled when it was stopped, and what the engine and the storage raise. The part under way
        is given back then, with what is kept of it.
        """
        song, worker = self._song, self._room.name
        with self._lock:
            part = self._patiently(
                lambda session: parts.enter(session, song, worker, self._lease_seconds, leads=self._leads)
            )
            if part is None:
                return False
            self._part, self._done = part, part.patches_done
        log.info("task %s: from part %d on, of which %d patches are kept", song.task_id, part.position, self._done)
        try:
            self._separate(part.first_patch + part.patches_done)
        except SeparationCancelled:
            self._give_back(failed=False)
            if self._stopped():
                raise
        except BaseException as error:
            self._give_back(failed=not isinstance(error, StorageAway))
            raise
        return True

    def renew(self) -> None:
        """Keep the lease of the part under way, and tell how much of it is kept. Raises SQLAlchemyError."""
        with self._lock:
            part = self._part
            if part is None:
                return
            with self._room.wiring.database.write() as session:
                held = parts.renew(session, part, self._done, self._lease_seconds)
            if not held:
                log.info("task %s: part %d went to another worker, or the task is over", part.task_id, part.position)
                self._part = None

    def _separate(self, first_patch: int) -> None:
        song, wish = self._song, self._wish
        separate_patches(
            self._source,
            self._separator,
            self._keep,
            limits=decode_limits(self._room.settings, song.source.seconds + GRACE_SECONDS),
            info=song.source,
            high_frequencies=wish.high_frequencies,
            start_seconds=wish.start,
            duration_seconds=wish.duration,
            first_patch=first_patch,
            cancelled=lambda: self._part is None or self._stopped(),
        )
        with self._lock:
            part, done = self._part, self._done
            if part is not None:  # the song ended in it
                self._patiently(lambda session: parts.end(session, song, part, done))
                self._part = None

    def _keep(self, patch: int, samples: Samples) -> bool:
        file = self._folder / f"{patch}.part"
        write_patch(file, samples)
        song = self._song
        key = keys.parts_key(song.source_name, song.task_id, song.fingerprint, patch)
        heard(lambda: self._room.wiring.storage.adopt(file, key), self._given_up)
        with self._lock:
            part = self._part
            if part is None:
                return False
            self._done += 1
            self._on_kept(patch)
            if part.patches is not None and self._done >= part.patches:
                worker, lease = self._room.name, self._lease_seconds
                self._part = self._patiently(
                    lambda session: parts.go_on(session, song, part, worker, lease, leads=self._leads)
                )
                self._done = 0
            return self._part is not None

    def _given_up(self) -> bool:
        """Whether not even the patch at hand is of use; it is kept by who has another task to do, too."""
        return self._part is None or self._room.stopping.due

    def _give_back(self, *, failed: bool) -> None:
        with self._lock:
            part, self._part = self._part, None
            if part is None:
                return
            try:
                with self._room.wiring.database.write() as session:
                    parts.give_back(session, part, self._done, failed=failed)
            except SQLAlchemyError as error:  # its lease ends by itself
                log.warning("task %s: a part was not given back: %s", part.task_id, type(error).__name__)

    def _patiently(self, change: Callable[[Session], Result]) -> Result:
        return in_time(self._room, change, self._stopped)


def in_time(room: EngineRoom, change: Callable[[Session], Result], stopped: Callable[[], bool]) -> Result:
    """In a transaction, as soon as the database is there. Raises SeparationCancelled when stopped meanwhile."""

    def step() -> Result:
        with room.wiring.database.write() as session:
            return change(session)

    try:
        return patiently(step, stopped, RETRY_SECONDS)
    except SQLAlchemyError as error:
        if is_unreachable(error):
            raise SeparationCancelled("Given up while the database was away.") from error
        raise


@contextmanager
def repeating(step: Callable[[], None], seconds: float, name: str) -> Iterator[None]:
    """Call `step` every so often, in a thread, for as long as the context lasts; what fails is tried again."""
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            try:
                step()
            except SQLAlchemyError as error:
                log.warning("%s: the database can't be used: %s", name, type(error).__name__)
            except Exception:
                log.exception(name)

    thread = threading.Thread(target=here(repeat), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
