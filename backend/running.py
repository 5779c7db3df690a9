"""The settings in force: the environment's, under what operators change while the service runs.

Each process looks at the table every second, from a thread of its own: no request and no event loop waits for it.
While the database is away, what was last known stays.
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from backend.db import Database
from backend.setting import service
from backend.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class Running:
    def __init__(self, environment: Settings, database: Database) -> None:
        self.environment = environment
        self.now = environment
        self._database = database
        self._stored: dict[str, object] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._looker: threading.Thread | None = None

    def start(self) -> None:
        """Look once, then every second until `stop`."""
        self.look()
        if self._looker is None:
            self._looker = threading.Thread(target=self._keep_looking, name="settings", daemon=True)
            self._looker.start()

    def stop(self) -> None:
        self._over.set()
        if self._looker is not None:
            self._looker.join()

    def look(self) -> None:
        """Never raises: also called after a commit that must not fail any more."""
        # One at a time: what was read first must not be set last.
        with self._lock:
            try:
                with self._database.read() as session:
                    stored = service.stored(session)
            except SQLAlchemyError as error:
                log.debug("changed settings can't be read: %s", type(error).__name__)
                return
            if stored != self._stored:
                self._take(stored)

    def _take(self, stored: dict[str, object]) -> None:
        before, self._stored = self.now, stored
        self.now = service.effective(self.environment, stored)
        changed = [
            name for name in service.CHANGEABLE if service.value_of(before, name) != service.value_of(self.now, name)
        ]
        log.warning("settings changed while running: %s", ", ".join(changed))
        if "log_level" in changed:
            logging.getLogger().setLevel(self.now.log_level)

    def _keep_looking(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            self.look()
