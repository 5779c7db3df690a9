"""Where each worker is just now, in a file that both it and the run have mapped.

The file outlives a SIGKILL: what it says afterwards is where the worker was when it died. A header and SLOTS records
of 16 bytes, each of one thread that is in a stage.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STAGES = ("", "claim", "decode", "network", "write", "store", "commit")
"""`write`: stems are encoded; `store`: they are moved to their place."""
POINTS = ("", "before", "inside", "after")
"""Of a commit: before the transaction, right before its COMMIT, after it."""
HOLD_SECONDS = 5.0

_HEADER = struct.Struct("<IBBBxII")  # pid, ready, wanted stage, wanted point, claims, tasks at work
_SLOT = struct.Struct("<BBxxId")  # stage, point, decoder's pid, since
SLOTS = 128
SIZE = 64 + SLOTS * _SLOT.size


@dataclass(frozen=True, slots=True)
class Seen:
    stage: str
    point: str
    since: float


class Board:
    """The worker's side: one board a process."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        self._free = deque(range(SLOTS))
        self._here = threading.local()
        self._lock = threading.Lock()
        self._claims = self._working = 0
        struct.pack_into("<I", self._map, 0, os.getpid())

    def ready(self) -> None:
        self._map[4] = 1

    def count(self, *, claims: int = 0, working: int = 0) -> None:
        with self._lock:
            self._claims += claims
            self._working += working
            struct.pack_into("<II", self._map, 8, self._claims, self._working)

    @contextmanager
    def at(self, stage: str) -> Iterator[None]:
        """This thread is in the stage; where it was in one already, it stays in that one."""
        if getattr(self._here, "slot", None) is not None or not self._free:
            yield
            return
        slot = self._here.slot = self._free.popleft()
        self._write(slot, stage, "")
        try:
            self.hold("")
            yield
        finally:
            self._write(slot, "", "")
            self._here.slot = None
            self._free.append(slot)

    def hold(self, point: str) -> None:
        """Stay here for a moment if the run wants to stop or kill somebody at this stage and point."""
        slot = getattr(self._here, "slot", None)
        if slot is None:
            return
        stage = STAGES[self._map[64 + slot * _SLOT.size]]
        if not self._wanted(stage, point):
            return
        self._write(slot, stage, point)
        give_up = time.monotonic() + HOLD_SECONDS
        while self._wanted(stage, point) and time.monotonic() < give_up:
            time.sleep(0.001)

    def _wanted(self, stage: str, point: str) -> bool:
        return bool(self._map[5]) and STAGES[self._map[5]] == stage and POINTS[self._map[6]] == point

    def _write(self, slot: int, stage: str, point: str) -> None:
        _SLOT.pack_into(
            self._map, 64 + slot * _SLOT.size, STAGES.index(stage), POINTS.index(point), 0, time.monotonic()
        )


class BoardReader:
    """The run's side, over all lives of a worker: each has a new file, for a map of one that shrinks is a SIGBUS."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._map: mmap.mmap | None = None

    def open(self) -> None:
        """For a worker that is about to start."""
        self.path.unlink(missing_ok=True)
        self.path.write_bytes(bytes(SIZE))
        with self.path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)

    def seen(self) -> list[Seen]:
        board = self._map
        if board is None:
            return []
        records = [_SLOT.unpack_from(board, 64 + slot * _SLOT.size) for slot in range(SLOTS)]
        return [Seen(STAGES[stage], POINTS[point], since) for stage, point, _, since in records if stage]

    def want(self, stage: str = "", point: str = "") -> None:
        """Ask the worker to hold when it gets there; with nothing, ask no more."""
        if self._map is not None:
            self._map[6] = POINTS.index(point)
            self._map[5] = STAGES.index(stage)

    @property
    def is_ready(self) -> bool:
        return self._map is not None and bool(self._map[4])

    @property
    def claims(self) -> int:
        return 0 if self._map is None else int(struct.unpack_from("<I", self._map, 8)[0])

    @property
    def working(self) -> int:
        return 0 if self._map is None else int(struct.unpack_from("<I", self._map, 12)[0])
