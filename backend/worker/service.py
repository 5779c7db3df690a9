"""What is known of the workers: heartbeats in the database, read by /health."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Worker
from backend.settings import Settings
from backend.worker import repository

MISSED_BEATS = 3
FORGOTTEN_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    name: str
    host: str
    ok: bool
    silent: bool
    warm_model: str | None
    warmup_seconds: float | None
    device: str | None
    reason: str | None


def worker_name(settings: Settings) -> str:
    """Stable over restarts, different on every host."""
    return f"{settings.worker.name}@{socket.gethostname()}"


def started(session: Session, name: str) -> None:
    worker = Worker(name=name, host=socket.gethostname(), pid=os.getpid())
    worker.started_at = worker.seen_at = database_now()
    worker.device = worker.warm_model = worker.warmup_seconds = worker.error = worker.stopped_at = None
    repository.report(session, worker)


def heartbeat(session: Session, name: str) -> None:
    if not repository.known(session, name):  # forgotten while it was stopped, or the database is a new one
        started(session, name)
    repository.heartbeat(session, name, os.getpid())
    repository.forget(session, FORGOTTEN_SECONDS)


def warmed(session: Session, name: str, model: str, device: str, seconds: float | None) -> None:
    repository.describe(session, name, warm_model=model, device=device, warmup_seconds=seconds, error=None)


def broken(session: Session, name: str, reason: str) -> None:
    repository.describe(session, name, error=reason)


def stopped(session: Session, name: str) -> None:
    repository.describe(session, name, stopped_at=database_now())


def health(session: Session, heartbeat_seconds: float) -> list[WorkerHealth]:
    rows = repository.all_with_silence(session, heartbeat_seconds * MISSED_BEATS)
    return [
        WorkerHealth(
            name=worker.name,
            host=worker.host,
            ok=not silent and worker.error is None,
            silent=silent,
            warm_model=worker.warm_model,
            warmup_seconds=worker.warmup_seconds,
            device=worker.device,
            reason=worker.error or ("no heartbeat" if silent else None),
        )
        for worker, silent in rows
    ]


def device(session: Session) -> str | None:
    """Where the workers run their networks."""
    found = {
        worker.device for worker, silent in repository.all_with_silence(session, FORGOTTEN_SECONDS) if worker.device
    }
    return ", ".join(sorted(found)) or None
