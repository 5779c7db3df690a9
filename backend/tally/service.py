"""Histograms of completed tasks, counted in the transaction that completes each: once, and for ever.

Rows of tasks are erased and expire, and a histogram must not fall; so it is kept beside them (ADR 32).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from backend.models import Task
from backend.tally import repository

_SECONDS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600)
BOUNDS: Mapping[str, Sequence[float]] = {
    "attempts": (1, 2, 3, 5),
    "real_time_factor": (0.5, 1, 2, 5, 10, 20, 50, 100, 200),
    "run_seconds": _SECONDS,
    "wait_seconds": _SECONDS,
}


@dataclass(frozen=True, slots=True)
class Histogram:
    name: str
    model: str
    buckets: Sequence[tuple[str, int]]
    """(upper bound, how many were at most that), the last of them `+Inf`."""
    total: float


def completed(session: Session, task: Task, model: str) -> None:
    """Wait: until the attempt that completed it. Run and speed (seconds of audio a second): of that attempt."""
    assert task.claimed_at is not None and task.finished_at is not None
    run = (task.finished_at - task.claimed_at).total_seconds()
    observed = {
        "attempts": float(task.attempt),
        "real_time_factor": task.seconds / run if run > 0 else BOUNDS["real_time_factor"][-1],
        "run_seconds": max(0.0, run),
        "wait_seconds": max(0.0, (task.claimed_at - task.created_at).total_seconds()),
    }
    repository.add(session, model, [(name, _bucket(name, value), value) for name, value in observed.items()])


def histograms(session: Session) -> list[Histogram]:
    found: dict[tuple[str, str], tuple[dict[float, int], list[float]]] = {}
    for row in repository.everything(session):
        key = row.name, row.model
        counts, totals = found.setdefault(key, ({**dict.fromkeys(BOUNDS.get(row.name, ()), 0), math.inf: 0}, []))
        bound = float(row.at_most)
        counts[bound] = counts.get(bound, 0) + row.number
        totals.append(row.total)
    return [Histogram(name, model, _running(counts), sum(totals)) for (name, model), (counts, totals) in found.items()]


def _bucket(name: str, value: float) -> str:
    bounds = BOUNDS[name]
    place = bisect_left(bounds, value)
    return _written(bounds[place]) if place < len(bounds) else "+Inf"


def _written(bound: float) -> str:
    return "+Inf" if math.isinf(bound) else repr(float(bound))


def _running(counts: Mapping[float, int]) -> list[tuple[str, int]]:
    running, told = 0, []
    for bound in sorted(counts):
        running += counts[bound]
        told.append((_written(bound), running))
    return told
