"""Probes: alive (`/healthz`), able to serve (`/readyz`), and every worker by name (`/health`)."""

from __future__ import annotations

import tempfile
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from sqlalchemy import inspect

from backend.metric.watchdog import Watchdog
from backend.probe import Failing, Probe
from backend.sessions import WiringOf
from backend.wiring import Wiring
from backend.worker import service as workers

router = APIRouter(tags=["health"])

DATABASE_SECONDS = 3.0
OTHERS_SECONDS = 1.0
FRESH_SECONDS = 2.0


class Alive(BaseModel):
    ok: bool


class Health(BaseModel):
    ok: bool
    status: str
    failing: list[str]
    workers: dict[str, dict[str, Any]]


class Probes:
    """What an API process needs. Without its database it can't serve; without the others it can in part."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self.database = Probe("database", self._database, patience=DATABASE_SECONDS, fresh=0)
        self.broker = Probe("broker", wiring.bell.check, patience=OTHERS_SECONDS, fresh=FRESH_SECONDS)
        self.storage = Probe("storage", self._storage, patience=OTHERS_SECONDS, fresh=FRESH_SECONDS)

    def degraded(self) -> list[str]:
        """Orders are taken without a broker, and what is in the database can be read without storage."""
        return [told for probe in (self.broker, self.storage) if (told := probe.failure())]

    def _database(self) -> None:
        with self._wiring.database.engine.connect() as connection:
            if not inspect(connection).has_table("task"):
                raise Failing("no tables yet, run `vocal-remover prepare`")

    def _storage(self) -> None:
        storage = self._wiring.storage
        next(storage.listed("ready"), None)  # nothing lies there, but somebody has to answer
        with storage.incoming() as folder, tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"ready")


async def _probes(request: Request) -> Probes:
    probes: Probes = request.app.state.probes
    return probes


async def _watchdog(request: Request) -> Watchdog:
    watchdog: Watchdog = request.app.state.watchdog
    return watchdog


ProbesOf = Annotated[Probes, Depends(_probes)]


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers."""
    return Alive(ok=True)


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(response: Response, probes: ProbesOf) -> Health:
    """Requests can be served: the database answers and has its tables. Workers may be away.

    Without broker or storage it is `degraded`: orders wait, or songs are neither taken nor given.
    """
    if failure := probes.database.failure():
        return _answer(response, [failure], {})
    missing = probes.degraded()
    return Health(ok=True, status="degraded" if missing else "healthy", failing=missing, workers={})


@router.get("/health", responses={503: {"model": Health}})
def health(
    response: Response, wiring: WiringOf, probes: ProbesOf, watchdog: Annotated[Watchdog, Depends(_watchdog)]
) -> Health:
    """Every worker, by its heartbeat, and whether tasks wait that nobody begins; 503 names what fails."""
    if failure := probes.database.failure():
        return _answer(response, [failure], {})
    settings = wiring.settings.worker
    with wiring.database.read() as session:
        found = workers.health(session, settings.heartbeat_seconds)
    shown = {
        worker.name: {
            "ok": worker.ok,
            "host": worker.host,
            "model": worker.warm_model,
            "device": worker.device,
            "warmup_seconds": worker.warmup_seconds,
            "reason": worker.reason,
        }
        for worker in found
    }
    failing = [worker.name for worker in found if not worker.ok]
    missing = settings.expected - len(found)
    if missing > 0:
        failing.append(f"{missing} of {settings.expected} expected workers have not reported")
    if watchdog.stalled:
        failing.append(f"queue: tasks wait and none starts: {watchdog.stalled}")
    return _answer(response, failing, shown)


def _answer(response: Response, failing: list[str], found: dict[str, dict[str, Any]]) -> Health:
    if failing:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Health(ok=not failing, status="unhealthy" if failing else "healthy", failing=failing, workers=found)
