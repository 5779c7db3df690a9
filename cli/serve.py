"""One API process, or one worker process. The containers start these; so does `vocal-remover run`."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

from backend.settings import Settings, UnsafeSettings
from backend.worker.service import worker_name
from cli.logs import configure

if TYPE_CHECKING:
    from fastapi import FastAPI

SUPERVISOR = "VR_SUPERVISOR_PID"
SHARED_FIGURES = "PROMETHEUS_MULTIPROC_DIR"
GRACE_SECONDS = 5
KEEP_ALIVE_SECONDS = 75
"""How long an idle connection is kept: longer than clients and proxies do (httpx 5 s, nginx 60 s), so that they end it.
Whoever sends just when the other side ends it gets no answer."""


def serve_api() -> None:
    import uvicorn

    from cli.several import SeveralProcesses

    settings = _safe_settings()
    processes = settings.server.processes
    if processes > 1 and settings.limit.storage == "memory://":
        sys.exit(
            f"VR_SERVER__PROCESSES is {processes}, and limits would count in each process by itself: "
            "set VR_LIMIT__STORAGE to sqlite:// or redis://…, which processes share."
        )
    _end_with_supervisor()
    with tempfile.TemporaryDirectory(prefix="vr-figures-") as figures:
        if processes > 1:
            os.environ[SHARED_FIGURES] = figures  # each counts there what all of them show
        options: dict[str, Any] = {
            "host": settings.server.host,
            "port": settings.server.port,
            "proxy_headers": False,  # the app believes the proxies of its settings, whatever server it runs in
            "timeout_graceful_shutdown": GRACE_SECONDS,
            "timeout_keep_alive": KEEP_ALIVE_SECONDS,
            "access_log": False,
            "log_config": None,
            "server_header": False,
        }
        if processes == 1:
            uvicorn.run("backend.app:app", **options)
        else:
            SeveralProcesses(
                uvicorn.Config("cli.serve:one_of_several", factory=True, workers=processes, **options)
            ).run()


def one_of_several() -> FastAPI:
    """What each of several API processes serves; they end with the one that started them."""
    configure(Settings())
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    _end_with(parent.pid)
    from backend.app import app

    return app


def serve_worker() -> None:
    """Says so and exits 1 when a worker of the same name runs on this machine: they would share leases."""
    settings = _safe_settings()
    configure(settings, worker=worker_name(settings))
    _end_with_supervisor()
    with _only_one(settings):
        from workers.app import app

        options = [
            f"--hostname={settings.worker.name}@%h",
            f"--pool={settings.worker.pool}",
            f"--concurrency={settings.worker.concurrency}",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",  # to Celery's own monitors; ours is a row
            f"--loglevel={settings.log_level}",
        ]
        app.worker_main(["--quiet", "worker", *options])


def _safe_settings() -> Settings:
    settings = Settings()
    configure(settings)
    try:
        settings.refuse_unsafe()
    except UnsafeSettings as error:
        sys.exit(str(error))
    return settings


def _only_one(settings: Settings) -> TextIO:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    lock = (settings.data_dir / f".{worker_name(settings)}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(
            f"A worker named {worker_name(settings)!r} runs on this data folder already; "
            "give this one another VR_WORKER__NAME."
        )
    return lock


def _end_with_supervisor() -> None:
    """When the supervisor is killed, end too: it would find our port taken when it is started again."""
    supervisor = int(os.environ.get(SUPERVISOR, "0"))
    if supervisor:
        _end_with(supervisor)


def _end_with(parent: int) -> None:
    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()
