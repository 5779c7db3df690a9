"""API and worker processes, started again when they end; as a cluster's scheduler does it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil

from backend.settings import ROOT
from bench.chaos.board import BoardReader
from bench.chaos.worker import BOARD
from cli.serve import SUPERVISOR
from tests.servers import free_port

POLL_SECONDS = 0.02
RESTART_SECONDS = 0.3
STOP_SECONDS = 40.0
ORPHAN_SECONDS = 5.0
"""How long a child may outlive a parent that was killed."""


class Member:
    """One process of the fleet, through all its lives. Who stops or kills it holds `busy`."""

    is_api = False

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self.busy = threading.Lock()
        self.restart_after = RESTART_SECONDS
        self.exits: Counter[str] = Counter()
        """How its lives ended that nobody ended."""
        self.up_since = float("inf")
        self.log = folder / f"{name}.log"
        self._command, self._environment = command, environment
        self._process: subprocess.Popen[bytes] | None = None
        self._due: float | None = None
        self._asked = False
        self._children: list[psutil.Process] = []
        self.left_behind = 0
        """Children that outlived it for ORPHAN_SECONDS."""

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self._due, self._asked, self.up_since = None, False, float("inf")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def watch(self, started_again: bool) -> None:
        """Note its end, and start it again when that is due."""
        if self._process is None or self._process.poll() is None:
            return
        if self._due is None:
            if not self._asked:
                self.exits[f"{self.name.rstrip('0123456789')} {self._process.returncode}"] += 1
            self._due = time.monotonic() + self.restart_after
        elif started_again and time.monotonic() >= self._due:
            self.start()

    def is_up(self) -> bool:
        raise NotImplementedError

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def kill(self) -> None:
        """It alone: its children have to notice by themselves. Returns when it is dead."""
        process = self._process
        assert process is not None
        children = self.children()
        self._asked, self.up_since = True, float("inf")
        process.kill()
        process.wait()
        threading.Thread(target=self._look_for, args=(children,), daemon=True).start()

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self, seconds: float = STOP_SECONDS) -> int | None:
        """SIGTERM; its exit status, None when it had to be killed."""
        process = self._process
        assert process is not None
        self._asked = True
        process.terminate()
        self.up_since = float("inf")
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def _look_for(self, children: list[psutil.Process]) -> None:
        _, alive = psutil.wait_procs(children, timeout=ORPHAN_SECONDS)
        self.left_behind += len(alive)


class Api(Member):
    is_api = True

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        own = environment | {"VR_SERVER__PORT": str(self.port)}
        super().__init__(name, [sys.executable, "-m", "cli", "api"], own, folder)

    def is_up(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False


class Worker(Member):
    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self.board = BoardReader(folder / f"{name}.board")
        own = environment | {"VR_WORKER__NAME": name, BOARD: str(self.board.path)}
        super().__init__(name, [sys.executable, "-m", "bench.chaos.worker"], own, folder)

    def start(self) -> None:
        self.board.open()
        super().start()

    def is_up(self) -> bool:
        return self.board.is_ready


class Fleet:
    """Starts everything, and keeps it up until the `with` block ends."""

    def __init__(self, folder: Path, environment: dict[str, str], apis: int, workers: int) -> None:
        own = environment | {SUPERVISOR: str(os.getpid())}
        self.apis = [Api(f"api{number}", own, folder) for number in range(1, apis + 1)]
        self.workers = [Worker(f"worker{number}", own, folder) for number in range(1, workers + 1)]
        self.members: list[Member] = [*self.apis, *self.workers]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._supervise, name="supervisor")

    def __enter__(self) -> Self:
        for member in self.members:
            member.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for member in self.members:
            if member.runs:
                member.send(signal.SIGCONT)
        for member in self.members:
            member.end()

    @contextmanager
    def workers_again(self) -> Iterator[None]:
        """After `close`: the workers alone, for as long as the block lasts."""
        for worker in self.workers:
            worker.start()
        try:
            yield
        finally:
            for worker in self.workers:
                worker.end()

    def all_up(self) -> bool:
        return all(member.runs and member.up_since < time.monotonic() for member in self.members)

    def wait_until_up(self, seconds: float) -> bool:
        give_up = time.monotonic() + seconds
        while not self.all_up():
            if time.monotonic() > give_up:
                return False
            time.sleep(0.05)
        return True

    def _supervise(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            for member in self.members:
                member.watch(started_again=True)
                if member.runs and member.up_since == float("inf") and member.is_up():
                    member.up_since = time.monotonic()


@contextmanager
def taken(member: Member, seconds: float = 0.0) -> Iterator[bool]:
    """Whether it could be had for oneself."""
    got = member.busy.acquire(timeout=seconds) if seconds else member.busy.acquire(blocking=False)
    try:
        yield got
    finally:
        if got:
            member.busy.release()
