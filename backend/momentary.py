"""What the database said a moment ago and would say again: answers that every read needs, kept for a second.

Whatever this process commits makes it forget, so it never contradicts itself; another process's commit takes effect
when the moment is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

from backend.db import commits

Told = TypeVar("Told")

SECONDS = 1.0
MOST = 10_000


class Momentary(Generic[Told]):
    """Answers by key. Safe to be used by many threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int, Told]] = {}

    def get(self, key: str) -> Told | None:
        until, seen, told = self._known.get(key, (0.0, 0, None))
        return told if time.monotonic() < until and seen == commits() else None

    def ask(self, key: str, question: Callable[[], Told]) -> Told:
        """Look, and keep the answer. Nothing is kept when the question raises."""
        # Counted before the database is asked: what is committed meanwhile may or may not be in the answer.
        seen = commits()
        told = question()
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[key] = time.monotonic() + SECONDS, seen, told
        return told
