"""PostgreSQL and Redis of the run's own, which it stops, empties and starts again."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import psycopg
import redis

from tests.servers import free_port

DATABASE = "chaos"
PATIENCE_SECONDS = 60.0


def missing() -> str:
    """What is needed and not here; empty when nothing is."""
    absent = [
        name for name, there in (("PostgreSQL", _programs()), ("Redis", shutil.which("redis-server"))) if not there
    ]
    return " and ".join(absent)


class Postgres:
    """A cluster with its default settings: it syncs, so what it confirmed outlives its end."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._data = folder / "data"
        self._owner = _unprivileged()
        folder.mkdir()
        if self._owner is not None:
            os.chown(folder, self._owner, -1)
        self._run("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "-E", "UTF8")
        self.start()
        with psycopg.connect(self._address("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {DATABASE}")

    @property
    def url(self) -> str:
        """For psycopg."""
        return self._address(DATABASE)

    @property
    def sqlalchemy_url(self) -> str:
        return self.url.replace("postgresql://", "postgresql+psycopg://")

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 -c max_connections=300"
        self._run("pg_ctl", "-D", str(self._data), "-o", options, "-w", "-t", f"{PATIENCE_SECONDS:.0f}", "start")

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """`fast` ends every session in good order; `immediate` is the server's own kill -9."""
        self._run("pg_ctl", "-D", str(self._data), "-m", mode, "-w", "stop")

    def _address(self, database: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        programs = _programs()
        assert programs is not None
        with (self._folder.parent / "postgres.log").open("ab") as log:
            line = [str(programs / program), *arguments]
            subprocess.run(line, check=True, user=self._owner, cwd=self._folder, stdout=log, stderr=log)


class Redis:
    """Keeps nothing: when it is stopped, everything in it is gone."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        folder.mkdir()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        program = shutil.which("redis-server")
        assert program is not None
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self._folder)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        give_up = time.monotonic() + PATIENCE_SECONDS
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < give_up:
                with suppress(redis.exceptions.RedisError):
                    client.ping()
                    return
                time.sleep(0.02)
        raise RuntimeError("Redis did not start.")

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [*found, *([Path(on_path)] if on_path else [])]
    return candidates[0].parent if candidates else None


def _unprivileged() -> int | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names.get("nobody", 65534))
