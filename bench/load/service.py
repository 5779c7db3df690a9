"""The API as it is run, on a database and a folder of its own; no worker: orders wait in the queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import psutil
import psycopg
from psycopg import sql

from backend.auth.schemas import DEMO
from backend.settings import ROOT, Settings
from bench.load.client import Call
from tests.servers import free_port

FREELY = {
    "credit__signup_grant": str(10**12),
    "auth__lock_after": "1000000",
    **{f"limit__{each}": "1000000 per second" for each in ("address", "user", "key", "tenant", "separate", "login")},
}
"""What one caller needs who asks as much as many would."""
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
REDIS = "redis://127.0.0.1:6379/12"
READY_SECONDS = 60


class Api:
    """Embedded (SQLite, counts in memory, one process), or with PostgreSQL, Redis and two processes."""

    def __init__(self, *, embedded: bool, changes: Mapping[str, str] = FREELY) -> None:
        self.embedded = embedded
        self.title = "embedded" if embedded else "PostgreSQL + Redis"
        self._folder = tempfile.TemporaryDirectory(prefix="vr-load-")
        self._database = "" if embedded else f"vr_load_{uuid.uuid4().hex[:12]}"
        self._server = os.environ.get("VR_TEST_POSTGRES", POSTGRES)
        values = {
            "data_dir": self._folder.name,
            "server__port": str(free_port()),
            "log_level": "WARNING",
            "webhook__insecure": "true",
            "webhook__allowed_networks": "127.0.0.0/8",
            **changes,
        }
        if not embedded:
            base = self._server.rsplit("/", 1)[0].replace("postgresql://", "postgresql+psycopg://")
            redis = os.environ.get("VR_TEST_REDIS", REDIS)
            values |= {
                "db__url": f"{base}/{self._database}",
                "queue__url": redis,
                "limit__storage": redis,
                "server__processes": "2",
            }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("VR_")}
        self._environment = inherited | {f"VR_{name.upper()}": value for name, value in values.items()}
        self.url = f"http://127.0.0.1:{values['server__port']}"
        self.headers: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._database:
            self._administer(sql.SQL("CREATE DATABASE {}"))
        try:
            subprocess.run([sys.executable, "-m", "cli", "prepare"], cwd=ROOT, env=self._environment, check=True)
            self._process = self._start("api")
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        self.client = httpx.Client(base_url=f"{self.url}/api/v1", timeout=60, trust_env=False)
        self.headers = self.login(**DEMO)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if hasattr(self, "client"):
            self.client.close()
        if hasattr(self, "_process"):
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
        if self._database:
            self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)"))
        self._folder.cleanup()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def settings(self) -> Settings:
        """Those of the API, for this process."""
        others = {name: value for name, value in os.environ.items() if name.startswith("VR_")}
        for name in others:
            del os.environ[name]
        os.environ.update({name: value for name, value in self._environment.items() if name.startswith("VR_")})
        try:
            return Settings(_env_file=None)
        finally:
            for name in [name for name in os.environ if name.startswith("VR_")]:
                del os.environ[name]
            os.environ.update(others)

    def cpu_seconds(self) -> float:
        """That the API's processes have taken."""
        parent = psutil.Process(self._process.pid)
        return sum(sum(each.cpu_times()[:2]) for each in (parent, *parent.children(recursive=True)))

    def login(self, email: str, password: str) -> dict[str, str]:
        return _bearer(self.client.post("/login", json={"email": email, "password": password}))

    def register(self, email: str) -> dict[str, str]:
        return _bearer(self.client.post("/register", json={"email": email, "password": "a long pass phrase"}))

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        answer = self.client.post(path, json=body, headers=headers or self.headers)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def call(self, path: str, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None) -> Call:
        sent = self.headers if headers is None else headers
        if body is None:
            return Call(f"/api/v1{path}", headers=sent)
        return Call(f"/api/v1{path}", "POST", sent, json.dumps(body).encode())

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cli", name]
        with self._log(name).open("ab") as log:  # letters are printed, too
            return subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def _log(self, name: str) -> Path:
        return Path(self._folder.name) / f"{name}.log"

    def _ended(self, name: str) -> RuntimeError:
        return RuntimeError(f"The {name} ended at once:\n{self._log(name).read_text(errors='replace')[-2000:]}")

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_SECONDS
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise self._ended("api")
            with suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=2, trust_env=False).status_code == 200:
                    return
            time.sleep(0.1)
        raise RuntimeError("The API did not answer.")

    def _administer(self, statement: sql.SQL) -> None:
        with psycopg.connect(self._server, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(self._database)))


def servers_missing() -> str:
    """What keeps the second half from being measured here."""
    try:
        psycopg.connect(os.environ.get("VR_TEST_POSTGRES", POSTGRES), connect_timeout=3).close()
    except psycopg.OperationalError:
        return "no PostgreSQL (VR_TEST_POSTGRES names one)"
    import redis

    try:
        with redis.Redis.from_url(os.environ.get("VR_TEST_REDIS", REDIS), socket_connect_timeout=2) as client:
            client.ping()
    except redis.exceptions.ConnectionError:
        return "no Redis (VR_TEST_REDIS names one)"
    return ""


def _bearer(answer: httpx.Response) -> dict[str, str]:
    answer.raise_for_status()
    return {"Authorization": f"Bearer {answer.json()['access_token']}"}
