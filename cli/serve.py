"""One API process, or one worker process. The containers start these; so does `vocal-remover run`."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import threading
import time
from typing import TextIO

from backend.settings import Settings, UnsafeSettings
from backend.worker.service import worker_name
from cli.logs import configure

SUPERVISOR = "VR_SUPERVISOR_PID"
GRACE_SECONDS = 5


def serve_api() -> None:
    import uvicorn

    settings = _safe_settings()
    _end_with_supervisor()
    uvicorn.run(
        "backend.app:app",
        host=settings.server.host,
        port=settings.server.port,
        proxy_headers=False,  # the app believes the proxies of its settings, whatever server it runs in
        timeout_graceful_shutdown=GRACE_SECONDS,
        access_log=False,
        log_config=None,
        server_header=False,
    )


def serve_worker() -> None:
    """Says so and exits 1 when a worker of the same name runs on this machine: they would share leases."""
    settings = _safe_settings()
    _end_with_supervisor()
    with _only_one(settings):
        from workers.app import app

        options = [
            f"--hostname={settings.worker.name}@%h",
            f"--pool={settings.worker.pool}",
            f"--concurrency={settings.worker.concurrency}",
            "--without-gossip",
            "--without-mingle",
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
    if not supervisor:
        return

    def watch() -> None:
        while os.getppid() == supervisor:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="supervisor-watch", daemon=True).start()
