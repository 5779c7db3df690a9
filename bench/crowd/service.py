"""The service as people meet it: API and worker, limits as they are by default, on folders of their own."""

from __future__ import annotations

import subprocess
import time
from types import TracebackType
from typing import Self

import httpx

from bench.load.service import Api
from bench.memory_use import MemoryWatch

PASSWORD = "a long pass phrase"
GRANTED = {"credit__signup_grant": str(1_000_000)}
WARM_SECONDS = 300
STOP_SECONDS = 60
LOOK_SECONDS = 3.0
"""Between two looks at the memory: they take time from what is measured."""


class Service(Api):
    def __init__(self, *, embedded: bool) -> None:
        super().__init__(embedded=embedded, changes=GRANTED)
        self.peaks: dict[str, int] = {}
        """Bytes (PSS) that each process has held at most, with its children."""
        self._watches: dict[str, MemoryWatch] = {}
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._worker = self._start("worker")
            self._wait_until_warm()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self._watches = {
            name: MemoryWatch(pid, rest=LOOK_SECONDS) for name, pid in (("API", self.pid), ("worker", self._worker.pid))
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            for name, watch in self._watches.items():
                watch.stop()
                self.peaks[name] = watch.peak
            if self._worker is not None:
                self._worker.terminate()
                self._worker.wait(STOP_SECONDS)
        finally:
            super().__exit__(kind, error, trace)

    def account(self, email: str, address: str) -> None:
        """Somebody new, who comes from that address."""
        way = httpx.HTTPTransport(local_address=address)
        with httpx.Client(base_url=f"{self.url}/api/v1", timeout=60, transport=way) as client:
            client.post("/register", json={"email": email, "password": PASSWORD}).raise_for_status()

    def _wait_until_warm(self) -> None:
        assert self._worker is not None
        give_up = time.monotonic() + WARM_SECONDS
        while time.monotonic() < give_up:
            if self._worker.poll() is not None:
                raise self._ended("worker")
            found = httpx.get(f"{self.url}/health", timeout=10, trust_env=False).json()
            if found["ok"] and all(worker["model"] for worker in found["workers"].values()):
                return
            time.sleep(0.2)
        raise RuntimeError("The worker did not become warm.")
