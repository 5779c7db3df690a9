"""Helping with others' long songs while no task waits for this worker."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy.exc import SQLAlchemyError

from backend import storage as keys
from backend.part import service as parts
from backend.part.service import SharedSong
from backend.storage import StorageAway
from backend.task import options
from engine.errors import SeparationCancelled
from engine.parts import fingerprint
from workers.hearing import heard
from workers.lease import Lease
from workers.parts import Maker, repeating
from workers.room import EngineRoom
from workers.seen import helping

log = logging.getLogger(__name__)

TakeTask = Callable[[], Lease | None]
"""Its lease has begun: who helps has a patch to end before it can work on the task."""


def help_out(room: EngineRoom, take_task: TakeTask) -> tuple[bool, Lease | None]:
    """Make parts of a song that another worker leads; (whether any was made, the task that came meanwhile and is
    this worker's now)."""
    with room.wiring.database.read() as session:
        songs = [song for song in parts.wanted(session, room.name) if _may_fit(room, song)]
        songs = [song for song in songs if parts.has_entry(session, song)]
    for song in songs:
        helper = _Helper(room, song, take_task)
        try:
            made = helper.run()
        except BaseException:
            if helper.lease is not None:
                helper.lease.end()  # nobody will work on it
            raise
        if made or helper.lease is not None:
            return made, helper.lease
    return False, None


def _may_fit(room: EngineRoom, song: SharedSong) -> bool:
    """By what is known without loading the model; its weights are not fetched for this."""
    if room.stopping.told or song.task_id in room.declined or song.model not in room.wiring.models.catalog:
        return False
    known = room.fingerprints.get((song.model, _wish(song).high_frequencies))
    return known in (None, song.fingerprint) and room.wiring.models.ready(room.wiring.models.catalog[song.model])


def _wish(song: SharedSong) -> options.Options:
    return options.from_row(song.options, ())  # which stems are stored is the leader's concern


class _Helper:
    def __init__(self, room: EngineRoom, song: SharedSong, take_task: TakeTask) -> None:
        self._room, self._song, self._take_task = room, song, take_task
        self.lease: Lease | None = None

    def run(self) -> bool:
        """Whether it made something. A failure is this worker's alone: it does not help with this song again."""
        room, song = self._room, self._song
        try:
            with helping(room, song):
                return self._make()
        except SeparationCancelled:
            return True
        except StorageAway:
            log.warning("task %s: could not help: the storage can't be used", song.task_id)
            return True
        except Exception:
            log.exception("task %s: could not help", song.task_id)
            room.declined.add(song.task_id)
            return True
        finally:
            self._clear_up()

    def _make(self) -> bool:
        room, song, wish = self._room, self._song, _wish(self._song)
        storage = room.wiring.storage
        with storage.incoming(room.name) as folder, room.separator(song.model) as separator, ExitStack() as stack:
            own = fingerprint(separator, wish.high_frequencies)
            room.fingerprints[song.model, wish.high_frequencies] = own
            if own != song.fingerprint:
                return False
            local = storage.local(song.source_key, room.name)
            source = heard(lambda: stack.enter_context(local), self._stopped, stack.close)
            maker = Maker(room, song, source, wish, separator, folder, leads=False, stopped=self._stopped)

            def renew() -> None:
                maker.renew()
                if not self._stopped():
                    self.lease = self._take_task()

            with repeating(renew, room.settings.worker.renew_seconds, f"part of {song.task_id}"):
                made = maker.run()
                while made and maker.run():
                    pass
        return made

    def _stopped(self) -> bool:
        """Tasks come first, and what can be given back at once needs no time of grace."""
        return self.lease is not None or self._room.stopping.told

    def _clear_up(self) -> None:
        """The last patch may have come after the task's end, when its files had been removed."""
        try:
            with self._room.wiring.database.read() as session:
                over = not parts.of_task(session, self._song)
            if over:
                self._room.wiring.storage.delete(keys.parts_key(self._song.source_name, self._song.task_id))
        except (SQLAlchemyError, StorageAway, OSError) as error:
            log.warning("task %s: parts may be left: %s", self._song.task_id, type(error).__name__)
