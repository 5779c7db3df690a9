"""Until when a worker that was told to stop may work on; told in its main process, known in those it forked."""

from __future__ import annotations

import time
from multiprocessing.sharedctypes import RawValue

SAME_SECONDS = 2.0
"""A service manager may tell the worker and its supervisor, who hands it on: that is one request."""


class Stopping:
    """Made before the fork. Moments are of the monotonic clock, which is one for the whole machine."""

    def __init__(self, grace_seconds: float) -> None:
        self._grace_seconds = grace_seconds
        self._since = RawValue("d", 0.0)
        self._until = RawValue("d", 0.0)

    def tell(self, *, at_once: bool = False) -> None:
        """Whoever says it again, and not in the same moment, means at once."""
        now = time.monotonic()
        if not self.told:
            self._since.value = now
            self._until.value = now if at_once else now + self._grace_seconds
        elif at_once or now - self._since.value > SAME_SECONDS:
            self._until.value = now

    @property
    def told(self) -> bool:
        return bool(self._until.value)

    @property
    def due(self) -> bool:
        return self.told and time.monotonic() >= self._until.value
