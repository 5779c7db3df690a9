"""One line that says how far a long job is and when it will be done."""

from __future__ import annotations

import sys
import time


class Progress:
    """On a terminal the line is written over itself, elsewhere a new one comes every `seconds`."""

    def __init__(self, title: str, total: int, seconds: float = 30.0) -> None:
        self._title, self._total, self._seconds = title, total, seconds
        self._done = 0
        self._began = self._said = time.monotonic()

    def step(self, note: str = "") -> None:
        self._done += 1
        now = time.monotonic()
        terminal, last = sys.stderr.isatty(), self._done == self._total
        if not last and now - self._said < (0.2 if terminal else self._seconds):
            return
        self._said = now
        left = (now - self._began) / self._done * (self._total - self._done)
        line = f"{self._title}: {self._done} of {self._total}, {duration(left)} left {note}".rstrip()
        print(f"\r\033[K{line}" if terminal else line, end="\n" if last or not terminal else "", file=sys.stderr)
        sys.stderr.flush()


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
