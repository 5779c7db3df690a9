"""Figures about the whole service, in the form that Prometheus reads. They tell nothing of any tenant.

What rows say is the same whichever process is asked. It is read at most every few seconds, however many ask; and what
takes long with a large history, such as proving the ledger, every 10 minutes, in a thread that nobody waits for long.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from backend.credit import service as credit
from backend.metric import repository
from backend.metric.http import HttpFigures
from backend.metric.repository import UnderWay
from backend.metric.watchdog import Watchdog
from backend.models.part import PartStatus
from backend.models.task import FINISHED, TaskStatus
from backend.probe import Probe
from backend.tally import service as tally
from backend.wiring import Wiring
from backend.worker import service as workers

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
SHARE = 20
"""Reading takes at most one part in so many of a process's time: what took long is read less often."""
CHECK_SECONDS = 600.0
PATIENCE_SECONDS = 3.0
"""For what rows say; with the probes' own patience a scrape is answered before Prometheus gives up, after 10 s."""

POISON = "worker_lost"
"""Of tasks of which every worker died; said even while there are none, so that the first one is seen to come."""

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Checked:
    """What takes long to find out, with a large history."""

    at: float
    imbalances: int
    shortfall: int
    finished: Mapping[str, int]
    failures: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Looked:
    """What is quick to find out."""

    under_way: UnderWay
    parts: Mapping[str, int]
    alive: int
    pending: int
    late_seconds: float
    stale_holds: int
    histograms: Sequence[tally.Histogram]


class Metrics:
    """Of one API process."""

    def __init__(self, wiring: Wiring, http: HttpFigures, watchdog: Watchdog, probes: Sequence[Probe]) -> None:
        self.http = http
        self._wiring, self._watchdog, self._probes = wiring, watchdog, probes
        self._looked = _Latest(self._look, lambda: FRESH_SECONDS)
        self._checked = _Latest(self._check, lambda: CHECK_SECONDS)

    def text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Told([*self._of_rows(), *self._of_surroundings()]))
        return generate_latest(registry) + self.http.text()

    def _of_rows(self) -> Iterator[Metric]:
        looking = [self._checked.begin(), self._looked.begin()]
        wait([each for each in looking if each is not None], PATIENCE_SECONDS)
        checked, looked = self._checked.found, self._looked.found
        if looked is not None:
            yield from _of_looked(looked, checked)
        if checked is not None:
            yield _gauge("vr_ledger_imbalances", "What the ledger can't explain: must be 0.", checked.imbalances)
            yield _gauge(
                "vr_purchase_shortfall_credits",
                "Bought and spent, and then taken back by who paid; as of the last check of the ledger.",
                credit.shown(checked.shortfall),
            )
            yield _labelled(
                "vr_tasks_failed",
                "Failed tasks by code, as of the last check.",
                "code",
                {POISON: 0} | dict(checked.failures),
            )
            yield _gauge("vr_ledger_checked_timestamp_seconds", "When the ledger was last checked.", checked.at)

    def _of_surroundings(self) -> Iterator[Metric]:
        yield _gauge(
            "vr_queue_stalled", "1: tasks wait and none starts; the log says why.", self._watchdog.stalled is not None
        )
        yield _gauge("vr_workers_expected", "Workers that should be there.", self._wiring.settings.worker.expected)
        up = {probe.name: probe.failure() is None for probe in self._probes}
        yield _labelled("vr_up", "Whether it answers.", "what", up)

    def _look(self) -> Looked:
        with self._wiring.database.read() as session:
            pending, late = repository.deliveries(session)
            return Looked(
                under_way=repository.under_way(session),
                parts=repository.parts(session),
                alive=sum(each.ok for each in workers.health(session, self._wiring.settings.worker.heartbeat_seconds)),
                pending=pending,
                late_seconds=late,
                stale_holds=repository.stale_holds(session),
                histograms=tally.histograms(session),
            )

    def _check(self) -> Checked:
        with self._wiring.database.read() as session:
            return Checked(
                at=time.time(),
                imbalances=len(credit.verify(session)),
                shortfall=repository.shortfall(session),
                finished=repository.finished(session),
                failures=repository.failures(session),
            )


class _Latest(Generic[Told]):
    """What was last found out. When it is old, a thread looks again, for all who ask meanwhile."""

    def __init__(self, find: Callable[[], Told], good_for: Callable[[], float]) -> None:
        self._find, self._good_for = find, good_for
        self._lock = threading.Lock()
        self.found: Told | None = None
        """None while it never was: the database is away, or it takes long."""
        self._ended, self._took = -math.inf, 0.0
        self._looking: Future[None] | None = None

    def begin(self) -> Future[None] | None:
        """To find out, if it is time; done when `found` is new."""
        with self._lock:
            looking = self._looking
            if looking is None and time.monotonic() - self._ended >= self._pause():
                looking = self._looking = Future()
                threading.Thread(target=self._look, args=(looking,), name="figures", daemon=True).start()
            return looking

    def _look(self, looking: Future[None]) -> None:
        began = time.monotonic()
        try:
            self.found = self._find()
        except SQLAlchemyError as error:
            self.found = None  # figures of before would look like those of now
            log.warning("figures can't be read: %s", type(error).__name__)
        finally:
            with self._lock:
                self._ended = time.monotonic()
                self._took = self._ended - began
                self._looking = None
            looking.set_result(None)

    def _pause(self) -> float:
        good = self._good_for()
        return max(good, SHARE * self._took) if good else 0.0


def _of_looked(looked: Looked, checked: Checked | None) -> Iterator[Metric]:
    now = looked.under_way
    finished = checked.finished if checked else {}
    known = [status for status in get_args(TaskStatus) if checked or status not in FINISHED]
    yield _labelled(
        "vr_tasks",
        "Tasks by status; finished ones as of the last check of the ledger.",
        "status",
        {status: (finished if status in FINISHED else now.tasks).get(status, 0) for status in known},
    )
    yield _gauge("vr_queue_length", "Tasks that wait for a worker.", now.tasks.get("queued", 0))
    yield _gauge("vr_queue_oldest_seconds", "Since the oldest queued task was ordered.", now.oldest_seconds)
    yield _gauge("vr_leases_expired", "Tasks whose worker is silent.", now.expired)
    parts = {status: looked.parts.get(status, 0) for status in get_args(PartStatus)}
    yield _labelled("vr_parts", "Parts of long songs under way.", "status", parts)
    yield _gauge("vr_workers_alive", "Workers that are well.", looked.alive)
    yield _gauge("vr_webhook_deliveries_pending", "Messages still to be delivered.", looked.pending)
    yield _gauge("vr_webhook_oldest_due_seconds", "Since the first of them was due.", looked.late_seconds)
    stale = credit.shown(looked.stale_holds)
    yield _gauge("vr_holds_stale_credits", "Held for no task under way: must be 0.", stale)
    for name, words in HISTOGRAMS.items():
        family = HistogramMetricFamily(f"vr_task_{name}", words, labels=["model"])
        for each in looked.histograms:
            if each.name == name:
                family.add_metric([each.model], list(each.buckets), each.total)
        yield family


HISTOGRAMS = {
    "wait_seconds": "Completed tasks: from the order until the attempt that completed it.",
    "run_seconds": "Completed tasks: that attempt.",
    "real_time_factor": "Completed tasks: seconds of audio a second of that attempt.",
    "attempts": "Completed tasks: how often they were begun.",
}


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _labelled(name: str, words: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


class _Told(Collector):
    def __init__(self, told: Sequence[Metric]) -> None:
        self._told = told

    def collect(self) -> Iterator[Metric]:
        yield from self._told
