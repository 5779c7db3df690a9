"""CPU seconds of this process by thread, sampled from /proc: a thread's own count is gone when it ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path

INTERVAL = 0.02
OTHERS = "network's own threads"
"""Threads that Python did not start: those of the runtime."""


class ThreadTime:
    """Between `start` and `stop`, which returns seconds by name; numbers at a name's end are dropped."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}
        self._last: dict[int, float] = {}
        self._first: dict[int, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="thread-time")

    def start(self) -> None:
        self._first = _read()
        self._thread.start()

    def stop(self) -> dict[str, float]:
        self._look()
        self._stopped.set()
        self._thread.join()
        seconds: dict[str, float] = {}
        for thread, spent in self._last.items():
            name = self._names.get(thread, OTHERS)
            if name != self._thread.name:
                seconds[name] = seconds.get(name, 0.0) + spent - self._first.get(thread, 0.0)
        return {name: round(spent, 3) for name, spent in sorted(seconds.items(), key=lambda pair: -pair[1])}

    def _watch(self) -> None:
        while not self._stopped.wait(INTERVAL):
            self._look()

    def _look(self) -> None:
        self._names |= {thread.native_id or 0: thread.name.rstrip("0123456789-_") for thread in threading.enumerate()}
        self._last |= _read()


def _read() -> dict[int, float]:
    spent = {}
    for task in os.listdir("/proc/self/task"):
        try:
            # Nanoseconds on a processor, nanoseconds waiting for one, how often.
            spent[int(task)] = int(Path(f"/proc/self/task/{task}/schedstat").read_text("ascii").split()[0]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            continue
    return spent
