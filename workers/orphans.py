"""Removes files that no row names: one thread in every worker's main process, and one look a day among them all."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from backend.inventory import service as inventory
from backend.inventory.service import InventoryRefused
from backend.storage import StorageAway
from backend.wiring import Wiring

log = logging.getLogger(__name__)

LOOK_SECONDS = 600.0
"""How often it is asked whether another look is due."""


class Orphans:
    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._stopping = threading.Event()
        # A look at a large storage takes minutes: nothing waits for its end, which may come at any file.
        self._thread = threading.Thread(target=self._work, name="orphans", daemon=True)

    def start(self) -> None:
        if self._wiring.settings.storage.check_hours:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def look_if_due(self) -> int:
        """How many files were removed. Never raises what is to be expected."""
        storage, removed = self._wiring.storage, 0
        try:
            if inventory.begin(storage, timedelta(hours=self._wiring.settings.storage.check_hours)):
                for _ in inventory.remove_orphans(self._wiring.database, storage):
                    removed += 1
                    if self._stopping.is_set():
                        break
        except InventoryRefused as refusal:
            log.warning("orphans are not removed: %s", refusal)
        except (SQLAlchemyError, StorageAway, OSError) as error:
            log.warning("the look for orphans was given up: %s", type(error).__name__)
        return removed

    def _work(self) -> None:
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self.look_if_due()
            except Exception:
                log.exception("the look for orphans failed")
