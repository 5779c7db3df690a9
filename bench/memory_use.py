"""How much memory a process and everything below it hold: PSS, sampled from /proc.

PSS counts a page that n processes share as 1/n in each, so the sum over a tree counts every page once.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import psutil

SHORTEST_WAIT = 0.01
WAIT_SHARE = 9
"""Reading a large process's pages takes a while and holds up its page faults: at most a tenth of the time."""


def tree_pss(pid: int) -> int:
    """Bytes held by a process and all below it; those that end while it looks count nothing."""
    try:
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_pss, family))


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # A process that has ended and was not asked for yet has no pages and no line.
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


class MemoryWatch:
    """Samples a tree in a thread until `stop`; a tree above `limit` bytes is ended (`exceeded`).

    `rest`: seconds between two looks, at least.
    """

    def __init__(self, pid: int, limit: int | None = None, rest: float = SHORTEST_WAIT) -> None:
        self.peak = 0
        self.samples = 0
        self.exceeded = False
        self._pid, self._limit, self._rest = pid, limit, rest
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-watch")
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        wait = 0.0
        while not self._stopped.wait(wait):
            began = time.monotonic()
            self.peak = max(self.peak, tree_pss(self._pid))
            self.samples += 1
            if self._limit is not None and self.peak > self._limit:
                self.exceeded = True
                end_tree(self._pid)
                return
            wait = max(self._rest, WAIT_SHARE * (time.monotonic() - began))


def end_tree(pid: int) -> None:
    try:
        parent = psutil.Process(pid)
        family = [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
