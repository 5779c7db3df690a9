"""A real S3 server for tests: OpenStack Swift, in a process and a folder of its own, on a free port."""

from __future__ import annotations

import gc
import signal
import subprocess
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.settings import ROOT
from backend.storage.s3_client import Clients
from tests.servers import free_port, missing

PYTHON = ROOT / ".venv-s3" / "bin" / "python"
ACCESS_KEY, SECRET_KEY = "test:tester", "the-secret-of-the-tests"
START_SECONDS = 60

_used: list[Any] = []
"""Clients that were made while a test ran."""


class S3Server:
    """May be killed, paused and started again: what it has stored stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        program = str(ROOT / "tests" / "s3" / "server.py")
        command = [str(PYTHON), "-W", "ignore", program, str(self._folder), str(self._port), ACCESS_KEY, SECRET_KEY]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        with self._process.stdout as output:
            assert output.readline() == "ready\n", (self._folder / "log").read_text("utf-8")

    def send(self, number: int) -> None:
        """A signal: SIGSTOP for a server that hangs, SIGCONT for one that goes on."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """At once, as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def new_bucket(self) -> str:
        name = f"vr-test-{uuid.uuid4().hex[:16]}"
        self.client().create_bucket(Bucket=name)
        return name

    def settings(self) -> dict[str, Any]:
        """For `make_service(storage=…)`: in a new bucket, below a prefix."""
        return {
            "url": f"s3://{self.new_bucket()}/music/songs",
            "endpoint": self.url,
            "access_key": ACCESS_KEY,
            "secret_key": SECRET_KEY,
        }

    def client(self) -> Any:
        """To look at it from outside."""
        import boto3
        from botocore.config import Config

        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )
        _used.append(client)
        return client


def environment(settings: dict[str, Any]) -> dict[str, str]:
    """The same for processes: `Cluster(folder, **environment(s3_settings))`."""
    return {f"VR_STORAGE__{name.upper()}": str(value) for name, value in settings.items()}


@pytest.fixture(scope="session")
def s3_program() -> Iterator[Path]:
    """The environment that the server runs in, made when it is not there."""
    made = subprocess.run([ROOT / "scripts" / "setup-s3"], capture_output=True, text=True, check=False)
    if made.returncode:
        missing(f"an S3 server: scripts/setup-s3 says {made.stderr[-300:]!r}")
    make = Clients._make

    def noted(self: Clients, endpoint: str) -> Any:
        _used.append(make(self, endpoint))
        return _used[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Clients, "_make", noted)
        yield PYTHON


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Now and then a socket is out of its client's reach when that is closed (probably in the traceback of a request
    that failed): it is let go of, without a word, by the test that opened it. So these tests can't see that the storage
    leaves a connection open."""
    quiet = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
    for item in items:
        # By a fixture, or by a parameter that asks for one.
        if "s3_program" in getattr(item, "fixturenames", ()) or "s3" in item.name.lower():
            item.add_marker(quiet)


@pytest.fixture(autouse=True)
def closed_clients() -> Iterator[None]:
    """Their pools would let go of sockets whenever Python tidies up, in the middle of some other test."""
    yield
    if _used:
        while _used:
            _used.pop().close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


@pytest.fixture(scope="session")
def s3_server(s3_program: Path) -> Iterator[S3Server]:
    """One for all tests, which each take a bucket of their own."""
    yield from _running()


@pytest.fixture
def own_s3_server(s3_program: Path) -> Iterator[S3Server]:
    """One that a test may stop."""
    yield from _running()


@pytest.fixture
def s3_settings(s3_server: S3Server) -> dict[str, Any]:
    """Storage in a new, empty bucket: `make_service(storage=s3_settings)`."""
    return s3_server.settings()


def _running() -> Iterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="vr-s3-", ignore_cleanup_errors=True) as folder:
        server = S3Server(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.send(signal.SIGCONT)
            server.stop()
