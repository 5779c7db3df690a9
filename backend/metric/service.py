"""Figures about the whole service, in the form that Prometheus reads. They tell nothing of any tenant."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from backend.credit import service as credit
from backend.metric import repository
from backend.models.task import FINISHED, TaskStatus
from backend.wiring import Wiring
from backend.worker import service as workers

CHECK_SECONDS = 600.0
UNDER_WAY = ("queued", "processing")


@dataclass(frozen=True, slots=True)
class Checked:
    """What takes long to find out, with a large history."""

    at: float
    imbalances: int
    shortfall: int
    finished: Mapping[str, int]


class Metrics:
    """Of one API process: it reads the whole ledger at most every 10 minutes, however often it is asked."""

    def __init__(self, wiring: Wiring) -> None:
        self._wiring = wiring
        self._checked: Checked | None = None
        self._checking = threading.Lock()

    def text(self) -> bytes:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Gauges(self._gauges()))
        return generate_latest(registry)

    def _gauges(self) -> list[Metric]:
        checked = self._latest()
        with self._wiring.database.read() as session:
            now = repository.tasks(session, UNDER_WAY)
            alive = sum(each.ok for each in workers.health(session, self._wiring.settings.worker.heartbeat_seconds))
            pending = repository.pending_deliveries(session)
        tasks = GaugeMetricFamily(
            "vr_tasks", "Tasks by status; finished ones as of the last check of the ledger.", labels=["status"]
        )
        for status in get_args(TaskStatus):
            tasks.add_metric([status], (checked.finished if status in FINISHED else now).get(status, 0))
        return [
            tasks,
            GaugeMetricFamily("vr_queue_length", "Tasks that wait for a worker.", value=now.get("queued", 0)),
            GaugeMetricFamily("vr_workers_alive", "Workers that are well.", value=alive),
            GaugeMetricFamily("vr_webhook_deliveries_pending", "Messages still to be delivered.", value=pending),
            GaugeMetricFamily(
                "vr_ledger_imbalances", "What the ledger can't explain: must be 0.", value=checked.imbalances
            ),
            GaugeMetricFamily(
                "vr_purchase_shortfall_credits",
                "Bought and spent, and then taken back by who paid; as of the last check of the ledger.",
                value=credit.shown(checked.shortfall),
            ),
            GaugeMetricFamily(
                "vr_ledger_checked_timestamp_seconds", "When the ledger was last checked.", value=checked.at
            ),
        ]

    def _latest(self) -> Checked:
        """Who asks first looks; who asks meanwhile gets what was known before."""
        known = self._checked
        if known is not None and (time.time() - known.at < CHECK_SECONDS or self._checking.locked()):
            return known
        with self._checking:
            if self._checked is known:
                with self._wiring.database.read() as session:
                    finished = repository.tasks(session, FINISHED)
                    self._checked = Checked(
                        time.time(), len(credit.verify(session)), repository.shortfall(session), finished
                    )
            assert self._checked is not None
            return self._checked


class _Gauges(Collector):
    def __init__(self, gauges: list[Metric]) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        yield from self._gauges
