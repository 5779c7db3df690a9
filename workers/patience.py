"""Waiting for a database or a storage that is away: what is done is done, only the row or the file is missing."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from backend.db import is_unreachable
from backend.storage import StorageAway, StorageRefused

log = logging.getLogger(__name__)

Result = TypeVar("Result")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 10.0


def patiently(
    step: Callable[[], Result],
    given_up: Callable[[], bool] = lambda: False,
    longest_pause: float = LONGEST_PAUSE_SECONDS,
) -> Result:
    """Try again while database or storage are away; raises what the step raised when it is given up, and anything
    else at once."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return step()
        except (SQLAlchemyError, StorageAway) as error:
            stored = isinstance(error, StorageAway)
            if isinstance(error, StorageRefused) or not (stored or is_unreachable(error)) or given_up():
                raise
            log.warning("the %s is away, trying again in %.1f s", "storage" if stored else "database", pause)
            time.sleep(pause)
            pause = min(pause * 2, longest_pause)
