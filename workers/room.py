"""What one worker process holds: the wiring, the loaded models, and whether it has been told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.orm import Session

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
from workers.patience import patiently
from workers.stopping import Stopping

log = logging.getLogger(__name__)

WARM_UPS = 3
"""How often warming up is tried when what failed may pass, such as a decoder that was killed."""


class EngineRoom:
    """Made after a fork, never before: neither connections nor runtimes survive one."""

    def __init__(self, settings: Settings, stopping: Stopping | None = None) -> None:
        """`stopping`: of the process that this one was forked from."""
        self.settings = settings
        self.stopping = stopping or Stopping(settings.worker.grace_seconds)
        self.name = workers.worker_name(settings)
        self.wiring: Wiring = wire(settings)
        self.fingerprints: dict[tuple[str, str], str] = {}
        """Of this worker's patches, by model and high frequencies; as far as they are known."""
        self.declined: set[UUID] = set()
        """Tasks with which this worker failed to help."""
        self._registry = Registry(self.wiring.models.catalog, self._load)

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
        if ready and not self.stopping.told:
            self.wiring.bell.ring()

    def warm_up(self) -> None:
        """Load and exercise the default model, so that the first task doesn't pay for it."""
        self._take_local_weights()
        spec = self.wiring.models.choose(None)
        try:
            device, seconds = self._warm(spec)
        except EngineError as error:
            log.error("model %s does not load: %s", spec.id, error)
            reason = f"{error.code}: {error}"
            self._report(lambda session: workers.broken(session, self.name, reason))
            return
        if seconds is None:
            log.warning("no warm-up song at %s: the first task warms the model up", self.settings.engine.warmup_song)
        else:
            log.info("model %s is warm on %s after %.2f s", spec.id, device, seconds)
        self._report(lambda session: workers.warmed(session, self.name, spec.id, device, seconds))

    def _warm(self, spec: ModelSpec, tries: int = WARM_UPS) -> tuple[str, float | None]:
        """(runtime and device, seconds). Raises EngineError."""
        try:
            with self.separator(spec.id) as separator:
                seconds = self._exercise(separator)
                return f"{separator.runtime.name} {separator.runtime.device}", seconds
        except EngineError as error:
            if not error.transient or tries == 1:
                raise
            log.warning("warming up %s failed, trying again: %s", spec.id, error)
        return self._warm(spec, tries - 1)

    def _report(self, word: Callable[[Session], None]) -> None:
        """As soon as the database is there."""

        def write() -> None:
            with self.wiring.database.write() as session:
                word(session)

        patiently(write)

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
