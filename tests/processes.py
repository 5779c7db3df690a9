"""The service as it runs: an API process and a worker process, which tests may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

from backend.auth.schemas import DEMO
from backend.settings import ROOT
from tests.servers import free_port
from tests.service import FAST, PASSWORD, Person

FINISHED = ("completed", "failed", "cancelled")


def environment(data_dir: Path, **changes: str) -> dict[str, str]:
    """Of a process of ours: with settings of its own, and none of this process's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VR_")}
    own = {
        "VR_DATA_DIR": str(data_dir),
        "VR_SERVER__PORT": str(free_port()),
        **{f"VR_LIMIT__{policy}": FAST for policy in ("ADDRESS", "USER", "KEY", "TENANT", "SEPARATE", "LOGIN")},
    }
    return inherited | own | changes


def wait_until(condition: Callable[[], Any], seconds: float = 240) -> None:
    give_up = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


class Process:
    """One of our commands, in a process group of its own, with its output in a file."""

    def __init__(self, arguments: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as output:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-m", "cli", *arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = 60) -> int:
        return self._process.wait(seconds)

    def kill(self) -> None:
        """As the kernel does it: at once, without a word, with whatever children it has."""
        if self.running():
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


class Cluster:
    """One API process and one worker on the same settings."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.data_dir = folder / "data"
        self.env = environment(self.data_dir, **settings)
        self.url = f"http://127.0.0.1:{self.env['VR_SERVER__PORT']}"
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)
        self.processes: dict[str, Process] = {}
        self._logs = folder

    def __enter__(self) -> Self:
        subprocess.run([sys.executable, "-m", "cli", "prepare"], cwd=ROOT, env=self.env, check=True)
        try:
            for name in ("api", "worker"):
                self.start(name)
            self.ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        for process in self.processes.values():
            if process.running():
                process.send(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def start(self, name: str) -> None:
        self.processes[name] = Process([name], self.env, self._logs / f"{name}.log")

    def ready(self) -> None:
        """Wait for an API that answers and a worker that is warm."""

        def warm() -> bool:
            for name, process in self.processes.items():
                assert process.running(), f"{name} ended:\n{process.text()[-3000:]}"
            try:
                health = self.client.get("/health").json()
            except httpx.TransportError:
                return False
            return bool(health["ok"]) and all(worker["model"] for worker in health["workers"].values())

        wait_until(warm)

    def kill(self, name: str) -> None:
        self.processes[name].kill()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "cli", *arguments]
        return subprocess.run(line, cwd=ROOT, env=self.env, capture_output=True, text=True, check=False)

    def login(self) -> Person:
        answer = self.client.post("/api/v1/login", json=DEMO)
        assert answer.status_code == 200, answer.text
        return Person(self.client, DEMO["email"], answer.json()["access_token"])

    def register(self, email: str) -> Person:
        answer = self.client.post("/api/v1/register", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        return Person(self.client, email, answer.json()["access_token"])

    def finished(self, person: Person, task_id: str) -> dict[str, Any]:
        """The task, once it is completed, failed or cancelled."""
        try:
            wait_until(lambda: person.task(task_id)["status"] in FINISHED)
        except AssertionError as error:
            worker = self.processes["worker"]
            if worker.running():
                worker.send(signal.SIGUSR1)  # Celery tells what each thread is at
                time.sleep(2)
            error.add_note(f"The worker {'runs' if worker.running() else 'has ended'}:\n{worker.text()[-10_000:]}")
            raise
        return person.task(task_id)
