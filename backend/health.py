"""Probes: alive (`/healthz`), able to serve (`/readyz`), and every worker by name (`/health`)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

from backend.sessions import WiringOf
from backend.wiring import Wiring
from backend.worker import service as workers

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    ok: bool


class Health(BaseModel):
    ok: bool
    status: str
    failing: list[str]
    workers: dict[str, dict[str, Any]]


@router.get("/healthz")
async def healthz() -> Alive:
    """The process answers."""
    return Alive(ok=True)


@router.get("/readyz", responses={503: {"model": Health}})
def readyz(response: Response, wiring: WiringOf) -> Health:
    """Requests can be served: the database answers and has its tables. Workers may be away."""
    failing = _database_failures(wiring)
    return _answer(response, failing, {})


@router.get("/health", responses={503: {"model": Health}})
def health(response: Response, wiring: WiringOf) -> Health:
    """Every worker, by its heartbeat; 503 names those that fail."""
    failing = _database_failures(wiring)
    if failing:
        return _answer(response, failing, {})
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
    return _answer(response, failing, shown)


def _answer(response: Response, failing: list[str], found: dict[str, dict[str, Any]]) -> Health:
    if failing:
        response.status_code = 503
        response.headers["Retry-After"] = "5"
    return Health(ok=not failing, status="unhealthy" if failing else "healthy", failing=failing, workers=found)


def _database_failures(wiring: Wiring) -> list[str]:
    try:
        with wiring.database.engine.connect() as connection:
            prepared = inspect(connection).has_table("task")
    except SQLAlchemyError as error:
        return [f"database: {type(error).__name__}"]
    return [] if prepared else ["database: no tables yet, run `vocal-remover prepare`"]
