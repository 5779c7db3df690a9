"""The databases and brokers that tests run against: found, or started, or loudly missing.

Each test gets a database of its own, copied from one that was migrated and seeded once.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
import redis
from psycopg import sql
from sqlalchemy import text

from backend.db import Database
from backend.settings import Settings
from migrations.prepare import prepare

LOCAL_POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
LOCAL_REDIS = "redis://127.0.0.1:6379"
REDIS_DATABASE = 11 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 5
"""It is emptied: processes that share the tests (pytest-xdist) take one each."""


def missing(what: str) -> NoReturn:
    """Skip, and say what for; where everything must be tested (CI), fail."""
    if os.environ.get("CI"):
        pytest.fail(f"needs {what}")
    pytest.skip(f"needs {what}")


def waiting(database: Database) -> bool:
    """Whether somebody waits for rows that the test's own transaction holds; on SQLite every other writer does."""
    if database.is_sqlite:
        return True
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.read() as session:
        return bool(session.execute(text(query)).scalar())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def empty_settings(data_dir: Path, url: str) -> Settings:
    return Settings(_env_file=None, data_dir=data_dir, db={"url": url})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Address of a PostgreSQL server where databases may be made."""
    url = os.environ.get("VR_TEST_POSTGRES", LOCAL_POSTGRES)
    if _answers(url):
        yield url
    elif "VR_TEST_POSTGRES" in os.environ:
        pytest.fail(f"VR_TEST_POSTGRES does not answer: {url}")
    else:
        with _started_postgres() as started:
            yield started


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database that is migrated and seeded."""
    with _database(postgres_server) as name:
        prepare(empty_settings(tmp_path_factory.mktemp("postgres"), _sqlalchemy(postgres_server, name)))
        yield name


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    prepare(empty_settings(file.parent, f"sqlite:///{file}"))
    return file


on_both = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""For tests of what the two databases do each in their own way."""


@pytest.fixture
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database with the demo user in it: SQLite, or what VR_TEST_DATABASE says; see `on_both`."""
    kind = getattr(request, "param", os.environ.get("VR_TEST_DATABASE", "sqlite"))
    url: str = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[kind])
    return url


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    file = tmp_path / "database" / "test.db"
    file.parent.mkdir()
    shutil.copyfile(sqlite_template, file)
    return f"sqlite:///{file}"


@pytest.fixture
def postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    with _database(postgres_server, postgres_template) as name:
        yield _sqlalchemy(postgres_server, name)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without any table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        server = request.getfixturevalue("postgres_server")
        with _database(server) as name:
            yield _sqlalchemy(server, name)


@pytest.fixture(scope="session")
def fresh_postgres(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """One database for processes that several tests share."""
    with _database(postgres_server, postgres_template) as name:
        yield _sqlalchemy(postgres_server, name)


@pytest.fixture(scope="package")
def shared_database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """As `database_url`, one for all tests of a folder."""
    if os.environ.get("VR_TEST_DATABASE", "sqlite") == "sqlite":
        file = tmp_path_factory.mktemp("database") / "test.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        yield f"sqlite:///{file}"
    else:
        server = request.getfixturevalue("postgres_server")
        with _database(server, request.getfixturevalue("postgres_template")) as name:
            yield _sqlalchemy(server, name)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """An emptied Redis database."""
    url = os.environ.get("VR_TEST_REDIS", f"{LOCAL_REDIS}/{REDIS_DATABASE}")
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
            client.flushdb()
            yield url
            client.flushdb()
    except redis.exceptions.ConnectionError:
        if "VR_TEST_REDIS" in os.environ:
            pytest.fail(f"VR_TEST_REDIS does not answer: {url}")
        with _started_redis() as started:
            yield started


def _answers(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=3).close()
    except psycopg.OperationalError:
        return False
    return True


@contextmanager
def _database(server: str, template: str = "template0") -> Iterator[str]:
    name = f"vr_test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(server, autocommit=True) as connection:
        statement = "CREATE DATABASE {} TEMPLATE {}"
        connection.execute(sql.SQL(statement).format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield name
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _sqlalchemy(server: str, database: str) -> str:
    base = server.rsplit("/", 1)[0].replace("postgresql://", "postgresql+psycopg://")
    return f"{base}/{database}"


@contextmanager
def _started_postgres() -> Iterator[str]:
    """A server of our own, as an unprivileged user: PostgreSQL refuses to run as root."""
    programs = _programs()
    owner = _unprivileged()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vr-postgres-") as name:
        folder = Path(name)
        if owner is not None:
            os.chown(folder, owner, -1)

        def run(*command: str) -> None:
            log = (folder.parent / f"{folder.name}.log").open("ab")
            with log:
                subprocess.run(command, check=True, user=owner, cwd=folder, stdout=log, stderr=log)

        data = folder / "data"
        try:
            run(f"{programs}/initdb", "-D", str(data), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8")
            options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
            run(f"{programs}/pg_ctl", "-D", str(data), "-o", options, "-w", "start")
            try:
                yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
            finally:
                run(f"{programs}/pg_ctl", "-D", str(data), "-m", "immediate", "stop")
        finally:
            (folder.parent / f"{folder.name}.log").unlink(missing_ok=True)


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)
    on_path = shutil.which("initdb")
    candidates = [*found, *([Path(on_path)] if on_path else [])]
    return candidates[0].parent if candidates else missing("PostgreSQL")


def _unprivileged() -> int | None:
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall()}
    return names.get("postgres", names.get("nobody", 65534))


@contextmanager
def _started_redis() -> Iterator[str]:
    with own_redis() as (url, _):
        yield url


@contextmanager
def own_redis() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """(address, process) of a server that a test may stop."""
    program = shutil.which("redis-server") or missing("Redis")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="vr-redis-") as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            url = f"redis://127.0.0.1:{port}/0"
            give_up = time.monotonic() + 20
            with redis.Redis.from_url(url) as client:
                while True:
                    try:
                        client.ping()
                        break
                    except redis.exceptions.ConnectionError:
                        if time.monotonic() > give_up:
                            raise
                        time.sleep(0.05)
            yield url, process
        finally:
            process.terminate()
            process.wait()
