"""`vocal-remover demo`: the main job from nothing, as a newcomer would do it, and a check of what came out."""

from __future__ import annotations

import os
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from backend.auth.schemas import DEMO
from backend.credit.service import shown
from backend.db import Database
from backend.settings import Settings, UnsafeSettings
from backend.user import service as users
from cli.inspect_stems import Finding, inspect
from cli.logs import configure
from cli.service_lock import running_at
from cli.supervisor import CannotStart, Service
from vocal_remover import Client, Progress, Task, VocalRemoverError

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
    except (CannotStart, UnsafeSettings, DemoFailed, VocalRemoverError) as error:
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
    with Client(url, email=DEMO["email"], password=DEMO["password"]) as client:
        before = client.credits()
        if before.balance < before.price:
            _top_up(settings)
            before = client.credits()
        _done(f"Logged in as {DEMO['email']}, {before.balance:g} credits")

        upload = client.upload(song)
        _done(f"Sent {song.name}: {upload.duration:.1f} s, {upload.rate} Hz, costs {upload.price:g} credits")

        accepted = client.submit(upload)
        _done(f"Task {accepted.id} with model {accepted.model}: {client.credits().held:g} credits held")
        task = _follow(client, accepted.id)

        receipt = task.receipt or {}
        _done(f"Separated at {receipt['real_time_factor']:.0f} times real time by {receipt['runtime']['name']}")
        for stem in task.stems:
            console.print(f"    {stem.path}")
        after = client.credits()
        spent = before.balance - after.balance
        _done(f"Credits: {before.balance:g} before, {spent:g} spent, {after.balance:g} left, {after.held:g} held")
        if spent != upload.price or after.held:
            raise DemoFailed("The credits are not what was announced.")
        _check(client, task, song)
        if task.model == "lite":
            console.print(
                "    The small embedded model made this. For the published Spleeter weights (73 MB): "
                "vocal-remover models pull, or make weights"
            )


def _follow(client: Client, task_id: str) -> Task:
    columns = (TextColumn("    {task.description:<12}"), BarColumn(40), TextColumn("{task.percentage:>3.0f} %"))
    with Bars(*columns, TimeElapsedColumn(), console=console) as bars:
        bar = bars.add_task("queued", total=1.0)

        def show(told: Progress) -> None:
            bars.update(bar, completed=told.progress, description=told.stage or told.status)

        return client.wait(task_id, on_progress=show)


def _check(client: Client, task: Task, song: Path) -> None:
    """Download the stems as a client would, and hold them against the song."""
    with tempfile.TemporaryDirectory() as folder:
        findings = inspect(song, client.download(task, folder))
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
