"""`vocal-remover run`: one command brings everything up, says plainly why when it can't, and ends it all."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from backend.settings import ROOT
from tests.processes import Process, environment, wait_until


@pytest.fixture
def started(tmp_path: Path) -> Iterator[tuple[Process, dict[str, str]]]:
    env = environment(tmp_path / "data")
    process = Process(["run"], env, tmp_path / "run.log")
    try:
        wait_until(lambda: "Vocal Remover is up" in process.text() or not process.running())
        assert process.running(), process.text()
        yield process, env
    finally:
        if process.running():
            process.send(signal.SIGTERM)
            process.wait()


def _run(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "cli", "run"]
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


def test_from_start_to_ctrl_c(started: tuple[Process, dict[str, str]]) -> None:
    process, env = started
    url = f"http://127.0.0.1:{env['VR_SERVER__PORT']}"
    assert f"{url}/docs" in process.text()
    assert "test@example.com" in process.text()
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        assert client.get("/health").json()["ok"] is True
        assert client.get("/docs").status_code == 200

    again = _run(env)
    assert again.returncode == 1
    assert f"running already, at {url}" in again.stderr
    assert "Traceback" not in again.stderr

    elsewhere = _run(env | {"VR_DATA_DIR": env["VR_DATA_DIR"] + "2"})
    assert elsewhere.returncode == 1
    assert f"Port {env['VR_SERVER__PORT']} on 127.0.0.1 can't be used" in elsewhere.stderr

    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send(signal.SIGINT)
    assert process.wait() == 0, process.text()[-2000:]
    assert process.text().rstrip().endswith("Stopped.")
    assert not [child for child in family if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", int(env["VR_SERVER__PORT"])))


def test_what_dies_is_started_again(started: tuple[Process, dict[str, str]]) -> None:
    process, env = started
    children = {child.cmdline()[-1]: child for child in psutil.Process(process.pid).children()}
    assert set(children) == {"api", "worker"}
    os.kill(children["api"].pid, signal.SIGKILL)
    url = f"http://127.0.0.1:{env['VR_SERVER__PORT']}"

    def back() -> bool:
        try:
            return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(lambda: "starting it again" in process.text())
    wait_until(back)


def test_production_says_why_it_does_not_start(tmp_path: Path) -> None:
    refused = _run(environment(tmp_path, VR_ENVIRONMENT="production"))
    assert refused.returncode == 1
    assert "VR_AUTH__SECRET is the development secret" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_after_a_kill_it_starts_again_at_once(started: tuple[Process, dict[str, str]], tmp_path: Path) -> None:
    """Its children, which hold the port and the worker's name, end before the new ones begin."""
    process, env = started
    orphans = psutil.Process(process.pid).children()
    process.kill()
    again = Process(["run"], env, tmp_path / "again.log")
    try:
        wait_until(lambda: "Vocal Remover is up" in again.text() or not again.running())
        assert again.running(), again.text()
        assert not any(orphan.is_running() for orphan in orphans)
    finally:
        again.send(signal.SIGTERM)
        again.wait()


def test_settings_that_can_t_be_read_are_said_in_a_sentence(tmp_path: Path) -> None:
    faults = {"VR_SERVER__PORT": "abc", "VR_LIMIT__SEPARATE": "bananas", "VR_AUTH__SECRET": ""}
    refused = _run(environment(tmp_path) | faults)
    assert refused.returncode == 1
    assert all(name in refused.stderr for name in faults)
    assert "Traceback" not in refused.stderr
