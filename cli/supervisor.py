"""API and worker as children of one process: started together, restarted when they die, ended together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from backend.settings import ROOT, Settings
from backend.storage import LocalStorage
from cli.serve import SUPERVISOR
from cli.service_lock import AlreadyRunning, ServiceLock
from migrations.prepare import prepare

READY_SECONDS = 300.0
RESTART_SECONDS = (0.5, 1, 2, 5, 10, 30)
STABLE_SECONDS = 60.0
MARGIN_SECONDS = 10.0


class CannotStart(Exception):
    """Says in one sentence why, and what to do."""


class Service:
    """The embedded service while the `with` block lasts, on a database that is brought up to date first.

    Raises CannotStart when it can't be had, UnsafeSettings.
    """

    def __init__(self, settings: Settings, logs: Path | None = None) -> None:
        """`logs`: folder for the children's logs; without it they share our standard error."""
        self.settings = settings
        self.url = f"http://{settings.server.host}:{settings.server.port}"
        self._logs = logs
        self._children: dict[str, _Child] = {}
        self._lock: ServiceLock | None = None

    def __enter__(self) -> Self:
        self._lock = self._only_one()
        try:
            self._lock.end_orphans(self.settings.worker.grace_seconds + MARGIN_SECONDS)
            self._refuse_taken_port()
            # We alone write here: what an API that was killed had half received is nobody's.
            LocalStorage(self.settings.data_dir, self.settings.sample_dir).clear_incoming("api")
            prepare(self.settings)
            self._children = {name: _Child(name, self._logs) for name in ("api", "worker")}
            for child in self._children.values():
                child.start()
            self._record()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def wait_until_ready(self, given_up: Callable[[], bool] = lambda: False) -> None:
        """Until the API answers and the worker is warm, or somebody has given up; raises CannotStart."""
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            if given_up():
                return
            for child in self._children.values():
                if (code := child.poll()) is not None:
                    where = f"; its log is {child.log}" if child.log else ""
                    raise CannotStart(f"The {child.name} process ended at once (exit code {code}){where}.")
            with suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.url}/health", timeout=2).json()
                warm = [worker for worker in answer["workers"].values() if worker["model"] or worker["reason"]]
                if warm and (answer["ok"] or warm[0]["reason"]):
                    return
            time.sleep(0.2)
        raise CannotStart(f"The service was not ready within {READY_SECONDS:g} seconds.")

    def watch(self) -> None:
        """Restart whatever dies; call it again and again."""
        restarted = [child.restart_if_dead() for child in self._children.values()]
        if any(restarted):
            self._record()

    def stop(self) -> None:
        """End every process: asked first, then by force."""
        for child in self._children.values():
            child.ask_to_stop()
        give_up = time.monotonic() + self.settings.worker.grace_seconds + MARGIN_SECONDS
        for child in self._children.values():
            child.end(give_up)
        self._release()

    def _only_one(self) -> ServiceLock:
        try:
            return ServiceLock(self.settings.data_dir, self.url)
        except AlreadyRunning as error:
            raise CannotStart(
                f"The service is running already, at {error}. Stop that one first, or give this one "
                "a data folder of its own with VR_DATA_DIR."
            ) from None

    def _record(self) -> None:
        assert self._lock is not None
        self._lock.record(child.pid for child in self._children.values())

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _refuse_taken_port(self) -> None:
        host, port = self.settings.server.host, self.settings.server.port
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise CannotStart(
                    f"Port {port} on {host} can't be used ({error.strerror}). Stop what uses it, or choose another "
                    f"port: VR_SERVER__PORT={port + 1}"
                ) from error


class _Child:
    def __init__(self, name: str, logs: Path | None) -> None:
        self.name = name
        self.log = logs / f"{name}.log" if logs else None
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._deaths = 0
        self._due: float | None = None

    def start(self) -> None:
        environment = os.environ | {SUPERVISOR: str(os.getpid())}
        output = self.log.open("ab") if self.log else None
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cli", self.name],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,  # a Ctrl-C in the terminal is ours to hand on, once
        )
        if output:
            output.close()
        self._started = time.monotonic()

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def restart_if_dead(self) -> bool:
        """True when it was started again just now."""
        code = self.poll()
        if code is None:
            return False
        if self._due is None:
            stable = time.monotonic() - self._started > STABLE_SECONDS
            self._deaths = 0 if stable else self._deaths
            pause = RESTART_SECONDS[min(self._deaths, len(RESTART_SECONDS) - 1)]
            self._deaths += 1
            self._due = time.monotonic() + pause
            print(f"The {self.name} process ended (exit code {code}); starting it again.", file=sys.stderr)
        elif time.monotonic() >= self._due:
            self._due = None
            self.start()
            return True
        return False

    def ask_to_stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def end(self, give_up: float) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, give_up - time.monotonic()))
        except subprocess.TimeoutExpired:
            # Its whole group, so that no decoder of a stuck worker is left.
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
