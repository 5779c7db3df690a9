"""Figures of the requests that were answered: by route's template, never by address, of which there are endless many.

Several API processes of one machine count into files that all of them read, so each shows what all have answered
(prometheus_client's multiprocess mode: `PROMETHEUS_MULTIPROC_DIR`, set by `cli.serve`).
"""

from __future__ import annotations

import os
from pathlib import Path

import psutil
from prometheus_client import (
    CollectorRegistry,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BYTES = (1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
"""Of what no route answered: unknown addresses, refusals before any route was looked for."""
NO_ANSWER = 499
"""For who went away before there was one."""

disable_created_metrics()  # type: ignore[no-untyped-call]


class HttpFigures:
    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        labels = ("method", "route", "status")
        self._seconds = Histogram(
            "vr_http_request_seconds",
            "Until the answer begins; an upload's body is in it, a download's or a stream's is not.",
            labels,
            buckets=SECONDS,
            registry=self._registry,
        )
        self._bytes = Histogram(
            "vr_http_response_bytes", "Bodies of answers.", labels[:2], buckets=BYTES, registry=self._registry
        )
        under_way = Gauge(
            "vr_http_in_flight", "Requests under way.", registry=self._registry, multiprocess_mode="livesum"
        )
        self.begun, self.ended = under_way.inc, under_way.dec
        self._known: dict[tuple[str, str, int], tuple[Histogram, Histogram]] = {}

    def answered(self, method: str, route: str, status: int, seconds: float, size: int) -> None:
        key = method, route, status
        known = self._known.get(key)
        if known is None:
            verb = method if method in METHODS else "other"
            known = self._seconds.labels(verb, route, str(status)), self._bytes.labels(verb, route)
            if verb == method:
                self._known[key] = known
        known[0].observe(seconds)
        known[1].observe(size)

    def text(self) -> bytes:
        shared = os.environ.get(SHARED)
        if not shared:
            return generate_latest(self._registry)
        _forget_dead(Path(shared))
        registry = CollectorRegistry(auto_describe=False)
        multiprocess.MultiProcessCollector(registry, shared)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _forget_dead(folder: Path) -> None:
    """What a process had under way when it was killed is under way no more; what it counted stays."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            multiprocess.mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
