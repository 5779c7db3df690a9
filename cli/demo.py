"""`vocal-remover demo`: the main job from nothing, as a newcomer would do it, and a check of what came out."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from backend.auth.schemas import DEMO
from backend.credit.service import shown
from backend.db import Database
from backend.settings import Settings, UnsafeSettings
from backend.user import service as users
from cli.client import Client, Refused
from cli.inspect_stems import Finding, inspect
from cli.logs import configure
from cli.service_lock import running_at
from cli.supervisor import CannotStart, Service

console = Console(highlight=False, soft_wrap=True)


class DemoFailed(Exception):
    """Says in one sentence what did not come out as it should."""


def demo(song: Path | None) -> int:
    """The exit code: 0 when every check passed."""
    settings = Settings()
    song = song or settings.sample_dir / "example.mp3"
    if not song.is_file():
        console.print(f"There is no file {song}.")
        return 1
    try:
        with _service(settings) as url:
            _show(settings, url, song)
    except (CannotStart, UnsafeSettings, DemoFailed, Refused) as error:
        console.print(f"[red]✗[/red] {error}")
        return 1
    return 0


@contextmanager
def _service(settings: Settings) -> Iterator[str]:
    """The service that runs on this data folder already, or one of our own for as long as the demo takes."""
    if (url := running_at(settings.data_dir)) is not None:
        console.print(f"The service is running already, at {url}: using that one.")
        yield url
        return
    if not _free(settings.server.host, settings.server.port):
        port = _any_port(settings.server.host)
        console.print(f"Port {settings.server.port} is taken: using {port}.")
        os.environ["VR_SERVER__PORT"] = str(port)
        settings = Settings()
    logs = settings.data_dir / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    configure(settings.model_copy(update={"log_level": "WARNING"}))
    began = time.monotonic()
    with Service(settings, logs) as service:
        service.wait_until_ready()
        _done(f"Service started in {time.monotonic() - began:.1f} s at {service.url} (logs in {_short(logs)})")
        yield service.url
    _done("Service stopped")


def _show(settings: Settings, url: str, song: Path) -> None:
    with Client(url) as client:
        client.login(**DEMO)
        before = client.balance()
        if before["balance"] < before["price"]:
            _top_up(settings)
            before = client.balance()
        _done(f"Logged in as {DEMO['email']}, {before['balance']:g} credits")

        upload = client.upload(song)
        _done(f"Sent {song.name}: {upload['duration']:.1f} s, {upload['rate']} Hz, costs {upload['price']:g} credits")

        accepted = client.separate(upload["id"])
        held = client.balance()
        _done(f"Task {accepted['task_id']} with model {accepted['model']}: {held['held']:g} credits held")
        _follow(client, accepted["task_id"])
        task = client.task(accepted["task_id"])
        if task["status"] != "completed":
            raise DemoFailed(f"The task is {task['status']}: {task['error_message']}")

        receipt = task["receipt"]
        _done(f"Separated at {receipt['real_time_factor']:.0f} times real time by {receipt['runtime']['name']}")
        for stem in task["stems"]:
            console.print(f"    {stem['path']}")
        after = client.balance()
        spent = before["balance"] - after["balance"]
        _done(
            f"Credits: {before['balance']:g} before, {spent:g} spent, {after['balance']:g} left, {after['held']:g} held"
        )
        if spent != upload["price"] or after["held"]:
            raise DemoFailed("The credits are not what was announced.")
        _check(client, task, song)
        if task["model"] == "lite":
            console.print(
                "    The small embedded model made this. For the published Spleeter weights (73 MB): "
                "vocal-remover models pull"
            )


def _follow(client: Client, task_id: str) -> None:
    columns = (TextColumn("    {task.description:<12}"), BarColumn(40), TextColumn("{task.percentage:>3.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("queued", total=1.0)
        for event in client.events(task_id):
            label = event.get("stage") or event["status"]
            done = 1.0 if event["status"] == "completed" else event.get("progress", 0.0)
            progress.update(bar, completed=done, description=label)


def _check(client: Client, task: dict[str, Any], song: Path) -> None:
    """Download the stems as a client would, and hold them against the song."""
    with tempfile.TemporaryDirectory() as folder:
        stems = {}
        for stem in task["stems"]:
            stems[stem["name"]] = Path(folder) / f"{stem['name']}.wav"
            client.download(stem["url"], stems[stem["name"]])
        findings = inspect(song, stems)
    for finding in findings:
        _tell(finding)
    if not all(finding.ok for finding in findings):
        raise DemoFailed("The stems are not what they should be.")


def _tell(finding: Finding) -> None:
    console.print(f"{'[green]✓[/green]' if finding.ok else '[red]✗[/red]'} {finding.text}")


def _done(text: str) -> None:
    console.print(f"[green]✓[/green] {text}")


def _top_up(settings: Settings) -> None:
    """The demo may be shown more often than its user has credits for."""
    amount = settings.credit.signup_grant
    with Database(settings).write() as session:
        users.grant(session, DEMO["email"], amount, "demo")
    console.print(f"    The demo user had run out of credits: granted {shown(amount):g} more.")


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _any_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
