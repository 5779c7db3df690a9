"""One service for one data folder: a locked file that also says where it answers and which processes are its own."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

FILE = ".service.lock"


class AlreadyRunning(Exception):
    """Says where."""


class ServiceLock:
    """Held while the object is open; the system lets go of it when its process dies. Raises AlreadyRunning."""

    def __init__(self, data_dir: Path, url: str) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        self._url = url
        self._file = (data_dir / FILE).open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            where = self._read().get("url", "another address")
            self._file.close()
            raise AlreadyRunning(where) from None

    def end_orphans(self, patience_seconds: float) -> None:
        """End the processes of a service that was killed: they hold its port and its worker's name.

        They have noticed and are ending by themselves, the worker after handing its task back; those that
        are stuck are killed.
        """
        orphans = [process for pid, born in self._read().get("children", []) if (process := _same(pid, born))]
        if not orphans:
            return
        print("Waiting for the processes of a service that was killed to end …", file=sys.stderr)
        for process in orphans:
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stuck = psutil.wait_procs(orphans, timeout=patience_seconds)
        for process in stuck:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        psutil.wait_procs(stuck, timeout=patience_seconds)

    def record(self, pids: Iterable[int]) -> None:
        """Say which processes are ours now."""
        children = []
        for pid in pids:
            with suppress(psutil.NoSuchProcess):
                children.append([pid, psutil.Process(pid).create_time()])
        self._file.truncate(0)
        self._file.write(json.dumps({"url": self._url, "children": children}))
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def _read(self) -> dict[str, Any]:
        self._file.seek(0)
        return _parse(self._file.read())


def running_at(data_dir: Path) -> str | None:
    """Where the service that holds this data folder answers, if one does."""
    path = data_dir / FILE
    if not path.is_file():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            url: str | None = _parse(file.read()).get("url")
            return url
    return None


def _parse(text: str) -> dict[str, Any]:
    with suppress(ValueError):
        content = json.loads(text)
        if isinstance(content, dict):
            return content
    return {}


def _same(pid: int, born: float) -> psutil.Process | None:
    """The process of that number, if it is still the one that was recorded: numbers are used again."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == born and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
