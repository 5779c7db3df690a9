from __future__ import annotations

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Worker


def report(session: Session, worker: Worker) -> None:
    """Write a worker that has just started over whatever was known under its name."""
    session.merge(worker)
    session.flush()


def heartbeat(session: Session, name: str, pid: int) -> None:
    session.execute(
        update(Worker).where(Worker.name == name, Worker.pid == pid).values(seen_at=database_now(), stopped_at=None)
    )


def known(session: Session, name: str) -> bool:
    return session.scalars(select(Worker.name).where(Worker.name == name)).first() is not None


def describe(session: Session, name: str, **values: object) -> None:
    session.execute(update(Worker).where(Worker.name == name).values(**values))


def all_with_silence(session: Session, silent_seconds: float) -> list[tuple[Worker, bool]]:
    """Every worker that has not left in good order, and whether it has been silent for too long."""
    silent: ColumnElement[bool] = Worker.seen_at < database_now(-silent_seconds)
    rows = session.execute(select(Worker, silent).where(Worker.stopped_at.is_(None)).order_by(Worker.name))
    return [(worker, bool(is_silent)) for worker, is_silent in rows]


def forget(session: Session, silent_seconds: float) -> None:
    """Drop workers that nobody has heard of for long: hosts that are gone."""
    session.execute(delete(Worker).where(Worker.seen_at < database_now(-silent_seconds)))
