"""What docker-compose.yml starts, started here without containers: the very commands, with the very
environment, on real servers. Only addresses, the folder and the port are this machine's.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from ruamel.yaml import YAML

from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = Path(sys.executable).parent
SECRET = "a-secret-of-this-test-alone-0123456789"
PERSON = {"email": "singer@example.com", "password": "a long pass phrase"}
UP_SECONDS = 90
GIVEN = {"VR_AUTH__SECRET": SECRET, "POSTGRES_PASSWORD": "secret"}

Compose = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> Compose:
    document: Compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    return document


def interpolated(value: str, given: dict[str, str]) -> str:
    """`${NAME:?…}` and `${NAME:-…}` as compose replaces them."""

    def replace(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if name in given:
            return given[name]
        assert operator == ":-", f"{name} is required: {rest}"
        return rest

    return re.sub(r"\$\{(\w+)(:[-?])([^}]*)\}", replace, value)


@dataclass(frozen=True)
class Stack:
    """The services of the file, on this machine's servers."""

    compose: Compose
    environment: dict[str, str]
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.environment['VR_SERVER__PORT']}"

    def command(self, service: str) -> list[str]:
        return [str(PROGRAMS / "vocal-remover"), *self.compose["services"][service]["command"]]

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=30
        )

    def probe(self, service: str) -> subprocess.CompletedProcess[str]:
        """The health check of a service, as the file says it."""
        kind, program, *rest = self.compose["services"][service]["healthcheck"]["test"]
        assert kind == "CMD"
        return self.run(str(PROGRAMS / program), *rest)

    @contextmanager
    def started(self, service: str) -> Iterator[subprocess.Popen[bytes]]:
        log = self.folder / f"{service}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(service), cwd=self.folder, env=self.environment, stdout=output, stderr=output
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            print(f"-- {service}", log.read_text("utf-8"), sep="\n")


def on_this_machine(environment: dict[str, str], database: str, redis_url: str, folder: Path) -> dict[str, str]:
    said = {name: interpolated(value, GIVEN) for name, value in environment.items()}
    assert said["VR_DB__URL"].startswith("postgresql+psycopg://")
    assert said["VR_QUEUE__URL"].startswith("redis://")
    assert said["VR_LIMIT__STORAGE"].startswith("redis://")
    here = {
        "VR_DB__URL": database,
        "VR_QUEUE__URL": redis_url,
        "VR_LIMIT__STORAGE": redis_url,
        "VR_DATA_DIR": str(folder / "data"),
        "VR_SERVER__PORT": str(free_port()),
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("VR_")}
    return inherited | said | here


@pytest.fixture
def stack(compose: Compose, postgres_server: str, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """On a database that is empty, as a new volume's is."""
    name = f"vr_test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        server = postgres_server.rsplit("/", 1)[0].replace("postgresql://", "postgresql+psycopg://")
        environment = compose["services"]["api"]["environment"]
        yield Stack(compose, on_this_machine(environment, f"{server}/{name}", redis_url, tmp_path), tmp_path)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def wait_until_healthy(stack: Stack, client: httpx.Client, *processes: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + UP_SECONDS
    answer = "nothing"
    while time.monotonic() < give_up:
        assert all(process.poll() is None for process in processes), "a process ended at once"
        try:
            health = client.get("/health")
            if health.status_code == 200:
                return
            answer = health.text
        except httpx.TransportError as error:
            answer = repr(error)
        time.sleep(0.2)
    pytest.fail(f"not healthy after {UP_SECONDS} s: {answer}")


def separated(client: httpx.Client, song: Path) -> dict[str, Any]:
    token = client.post("/api/v1/login", json=PERSON).json()["access_token"]
    client.headers["Authorization"] = f"Bearer {token}"
    sent = client.post("/api/v1/uploads", files={"file": ("song.mp3", song.read_bytes(), "audio/mpeg")})
    assert sent.status_code == 201, sent.text
    ordered = client.post("/api/v1/separate", json={"upload_id": sent.json()["id"]})
    assert ordered.status_code == 202, ordered.text
    task = ordered.json()["task_id"]
    give_up = time.monotonic() + UP_SECONDS
    while time.monotonic() < give_up:
        status: dict[str, Any] = client.get(f"/api/v1/status/{task}").json()
        if status["status"] not in ("queued", "processing"):
            return status
        time.sleep(0.2)
    pytest.fail(f"not finished after {UP_SECONDS} s: {status}")


def ended(process: subprocess.Popen[bytes], grace: str) -> int:
    """The exit code after what `docker compose stop` does: SIGTERM, and so many seconds."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=float(grace.removesuffix("s")))


@pytest.mark.timeout(600)
def test_the_services_of_the_file_separate_a_song(stack: Stack, warmup: Path) -> None:
    for _ in range(2):  # at every start of the stack, also on a database that was prepared before
        prepared = stack.run(*stack.command("prepare"))
        assert prepared.returncode == 0, prepared.stderr
    assert stack.probe("api").returncode == 1
    assert stack.probe("worker").returncode == 1

    added = stack.run(
        str(PROGRAMS / "vocal-remover"), "users", "add", PERSON["email"], "--password", PERSON["password"]
    )
    assert added.returncode == 0, added.stderr

    services = stack.compose["services"]
    with ExitStack() as running:
        client = running.enter_context(httpx.Client(base_url=stack.url, timeout=30, trust_env=False))
        api = running.enter_context(stack.started("api"))
        worker = running.enter_context(stack.started("worker"))
        wait_until_healthy(stack, client, api, worker)
        for service in ("api", "worker"):
            probed = stack.probe(service)
            assert probed.returncode == 0, probed.stdout + probed.stderr

        demo = client.post("/api/v1/login", json={"email": "test@example.com", "password": "password123"})
        assert demo.status_code == 401, "production has no demo user"
        status = separated(client, warmup)
        assert status["status"] == "completed", status
        vocals = client.get(f"/api/v1/tasks/{status['task_id']}/stems/vocals")
        assert vocals.content[:4] == b"RIFF"
        assert len(vocals.content) > 1_000_000
        assert client.get("/api/v1/me").json()["credits"] == 9

        assert ended(worker, services["worker"]["stop_grace_period"]) == 0
        assert stack.probe("worker").returncode == 1
        assert client.get("/health").status_code == 503
        assert ended(api, services["api"]["stop_grace_period"]) == 0
        assert "Application shutdown complete" in (stack.folder / "api.log").read_text("utf-8")


@pytest.mark.parametrize("service", ["prepare", "api", "worker"])
@pytest.mark.parametrize(
    "secret", ["", "development-only-secret-never-use-in-production", "short"], ids=["none", "default", "short"]
)
def test_nothing_starts_with_an_unsafe_secret(stack: Stack, service: str, secret: str) -> None:
    environment = {name: value for name, value in stack.environment.items() if name != "VR_AUTH__SECRET"}
    if secret:
        environment["VR_AUTH__SECRET"] = secret
    refused = Stack(stack.compose, environment, stack.folder).run(*stack.command(service))
    assert refused.returncode == 1
    assert "VR_AUTH__SECRET" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_file_asks_for_its_secrets(compose: Compose) -> None:
    environment = compose["services"]["api"]["environment"]
    with pytest.raises(AssertionError, match="VR_AUTH__SECRET is required"):
        interpolated(environment["VR_AUTH__SECRET"], {})
    with pytest.raises(AssertionError, match="POSTGRES_PASSWORD is required"):
        interpolated(environment["VR_DB__URL"], {})


def test_every_service_of_ours_is_confined_and_watched(compose: Compose) -> None:
    services = compose["services"]
    for name in ("api", "worker"):
        service = services[name]
        assert service["environment"] == services["prepare"]["environment"]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["test"]
        assert service["volumes"] == ["data:/var/lib/vocal-remover"], "API and worker read the same files"
        assert service["depends_on"]["prepare"] == {"condition": "service_completed_successfully"}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", dockerfile, re.MULTILINE)
