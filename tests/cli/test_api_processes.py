"""Several API processes on one port: they share the limits, and end with the one that started them."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psutil
import pytest

from backend.settings import ROOT
from tests.processes import Process, environment, wait_until

CONNECTIONS = 64


@pytest.fixture
def api(tmp_path: Path) -> Iterator[tuple[Process, str]]:
    more = {"VR_SERVER__PROCESSES": "2", "VR_LIMIT__STORAGE": "sqlite://", "VR_LIMIT__ADDRESS": "20 per hour"}
    env = environment(tmp_path / "data", **more)
    subprocess.run([sys.executable, "-m", "cli", "prepare"], cwd=ROOT, env=env, check=True)
    process = Process(["api"], env, tmp_path / "api.log")
    url = f"http://127.0.0.1:{env['VR_SERVER__PORT']}"
    yield process, url
    process.kill()


def serving(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_two_processes_serve_and_count_together(api: tuple[Process, str]) -> None:
    process, url = api
    wait_until(lambda: process.text().count("Application startup complete") == 2)
    children = psutil.Process(process.pid).children(recursive=True)
    # Each request on a connection of its own, which either of the two may take.
    answers = [httpx.get(f"{url}/api/v1/models", trust_env=False).status_code for _ in range(25)]
    assert answers == [401] * 20 + [429] * 5
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert not psutil.wait_procs(children, timeout=20)[1]


def test_a_connection_that_lay_idle_is_still_good(api: tuple[Process, str]) -> None:
    _, url = api
    wait_until(lambda: serving(url))
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    with closing(connection):
        connection.connect()
        first = connection.sock
        for wait in (6, 0):  # httpx lets go of its own after five
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            time.sleep(wait)
        assert connection.sock is first is not None


def test_each_shows_what_all_have_answered(api: tuple[Process, str]) -> None:
    process, url = api
    wait_until(lambda: process.text().count("Application startup complete") == 2)

    def counted(name: str) -> float:
        text = httpx.get(f"{url}/metrics", trust_env=False).text
        [line] = [line for line in text.splitlines() if line.startswith(name)]
        return float(line.rpartition(" ")[2])

    for _ in range(10):  # each on a connection of its own, which either of the two may take
        assert httpx.get(f"{url}/api/v1/models", trust_env=False).status_code == 401
    answered = 'vr_http_request_seconds_count{method="GET",route="/api/v1/models",status="401"}'
    assert {counted(answered) for _ in range(10)} == {10}
    killed = psutil.Process(process.pid).children(recursive=True)[-1]
    killed.kill()
    wait_until(lambda: process.text().count("Application startup complete") == 3)
    assert {counted(answered) for _ in range(10)} == {10}
    assert counted("vr_http_in_flight") == 1  # this one


def test_connections_are_dealt_out(api: tuple[Process, str]) -> None:
    """However late one is to wake, its share is its own."""
    process, url = api
    wait_until(lambda: process.text().count("Application startup complete") == 2)
    port = int(url.rsplit(":", 1)[1])

    def taken(child: psutil.Process) -> int:
        found = child.net_connections()
        return sum(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in found)

    children = [child for child in psutil.Process(process.pid).children() if child.net_connections()]
    for child in children:
        child.suspend()
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        for child in children:
            child.resume()
            time.sleep(1)  # for all that it would take
        wait_until(lambda: sum(map(taken, children)) == CONNECTIONS)
        shares = [taken(child) for child in children]
    assert min(shares) > CONNECTIONS / 8, shares  # by chance once in 10^9


def test_a_port_that_is_served_is_not_shared(api: tuple[Process, str], tmp_path: Path) -> None:
    process, url = api
    wait_until(lambda: serving(url))
    more = {"VR_SERVER__PORT": url.rsplit(":", 1)[1], "VR_SERVER__PROCESSES": "2", "VR_LIMIT__STORAGE": "sqlite://"}
    command = [sys.executable, "-m", "cli", "api"]
    env = environment(tmp_path / "other", **more)
    second = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 1
    assert "can't be listened on: Address already in use" in second.stderr
    assert process.running()


def test_they_end_when_the_one_that_started_them_is_killed(api: tuple[Process, str]) -> None:
    process, url = api
    wait_until(lambda: serving(url))
    psutil.Process(process.pid).kill()
    port = int(url.rsplit(":", 1)[1])

    def free() -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return probe.connect_ex(("127.0.0.1", port)) != 0

    wait_until(free, 30)


def test_limits_that_each_would_count_by_itself_are_refused(tmp_path: Path) -> None:
    env = environment(tmp_path / "data", VR_SERVER__PROCESSES="2")
    command = [sys.executable, "-m", "cli", "api"]
    ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "VR_LIMIT__STORAGE" in ended.stderr
