"""What one worker process holds: the wiring, the loaded models, and whether it has been told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backend.settings import Settings
from backend.task import lifecycle
from backend.wiring import Wiring, wire
from backend.worker import service as workers
from engine.audio_io import DecodeLimits
from engine.catalog import ModelSpec
from engine.errors import EngineError
from engine.models.base import Separator
from engine.registry import Registry, load_separator
from engine.warmup import warm

log = logging.getLogger(__name__)


class EngineRoom:
    """Made after a fork, never before: neither connections nor runtimes survive one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.name = workers.worker_name(settings)
        self.wiring: Wiring = wire(settings)
        self._registry = Registry(self.wiring.models.catalog, self._load)
        self._stop_at: float | None = None

    @contextmanager
    def separator(self, model: str) -> Iterator[Separator]:
        with self._registry.lease(model) as separator:
            yield separator

    def fetch_weights(self, model: str, on_progress: Callable[[int, int | None], None]) -> None:
        """Before a model is loaded, so that a slow download can be given up: `on_progress` may raise.

        Raises WeightsUnavailable, WeightsCorrupt.
        """
        spec = self.wiring.models.catalog[model]
        if not self.wiring.models.ready(spec):
            self.wiring.models.weights.pull(spec, on_progress)

    def ring_if_queued(self) -> None:
        with self.wiring.database.read() as session:
            ready = lifecycle.ready(session, self.wiring.settings.tenant.concurrent_tasks)
        if ready and self._stop_at is None:
            self.wiring.bell.ring()

    def stop_soon(self) -> None:
        """Called when the worker is told to stop: what is not done within the grace time is handed back."""
        self._stop_at = time.monotonic() + self.settings.worker.grace_seconds

    @property
    def must_stop(self) -> bool:
        return self._stop_at is not None and time.monotonic() >= self._stop_at

    def warm_up(self) -> None:
        """Load and exercise the default model, so that the first task doesn't pay for it."""
        self._take_local_weights()
        spec = self.wiring.models.choose(None)
        song = self.settings.engine.warmup_song
        try:
            with self.separator(spec.id) as separator:
                seconds = self._exercise(separator)
                device = f"{separator.runtime.name} {separator.runtime.device}"
        except EngineError as error:
            log.error("model %s does not load: %s", spec.id, error)
            with self.wiring.database.write() as session:
                workers.broken(session, self.name, f"{error.code}: {error}")
            return
        if seconds is None:
            log.warning("no warm-up song at %s: the first task warms the model up", song)
        else:
            log.info("model %s is warm on %s after %.2f s", spec.id, device, seconds)
        with self.wiring.database.write() as session:
            workers.warmed(session, self.name, spec.id, device, seconds)

    def _take_local_weights(self) -> None:
        shelf = self.wiring.models
        for spec in shelf.catalog.values():
            try:
                shelf.weights.take_local(spec)
            except EngineError as error:
                log.error("weights of %s in the local folder: %s", spec.id, error)

    def _exercise(self, separator: Separator) -> float | None:
        song = self.settings.engine.warmup_song
        return warm(separator, song, DecodeLimits(seconds=600)) if song.is_file() else None

    def _load(self, spec: ModelSpec) -> Separator:
        began = time.monotonic()
        engine = self.settings.engine
        weights = None if spec.embedded else self.wiring.models.weights.pull(spec)
        separator = load_separator(
            spec,
            self.wiring.models.catalog,
            threads=self.settings.threads,
            weights_path=weights,
            runtime=engine.runtime,
            precision=engine.precision,
            kserve_url=engine.kserve_url or None,
            graph_cache=self.settings.data_dir / "models" / "graphs",
            spleeter_python=engine.spleeter_python,
        )
        log.info("loaded %s in %.2f s", spec.id, time.monotonic() - began)
        return separator
