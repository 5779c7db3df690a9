"""What one worker process holds: the wiring, the loaded models, and whether it has been told to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from backend.settings import Settings
from backend.task import lifecycle
from backend.wiring import Wiring, wire
from backend.worker import service as workers
from engine.audio_io import DecodeLimits
from engine.catalog import ModelSpec
from engine.errors import EngineError, SeparationCancelled
from engine.models.base import Separator
from engine.registry import Registry, load_separator
from engine.warmup import warm
from workers.hearing import heard
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
        self._ill = False
        """It has reported that it could not warm up, and nothing else since."""
        self._registry = Registry(self.wiring.models.catalog, self._load)

    @contextmanager
    def separator(self, model: str) -> Iterator[Separator]:
        with self._registry.lease(model) as separator:
            yield separator
            self._recover(separator)

    def close(self) -> None:
        """Let go of the models and of the database. A process that ends need not."""
        self._registry.close()
        self.wiring.database.dispose()

    def fetch_weights(self, model: str, on_progress: Callable[[int, int | None], None]) -> None:
        """Before a model is loaded, so that a download can be given up, also one that hangs: `on_progress` may raise
        SeparationCancelled, and is called in several threads.

        Raises WeightsUnavailable, WeightsCorrupt.
        """
        spec = self.wiring.models.catalog[model]
        if self.wiring.models.ready(spec):
            return
        latest: tuple[int, int | None] = 0, None

        def tell(have: int, whole: int | None) -> None:
            nonlocal latest
            latest = have, whole
            on_progress(have, whole)

        def given_up() -> bool:
            try:
                on_progress(*latest)
            except SeparationCancelled:
                return True
            return False

        heard(lambda: self.wiring.models.weights.pull(spec, tell), given_up)

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
            self._ill = True
            return
        if seconds is None:
            log.warning("no warm-up song at %s: the first task warms the model up", self.settings.engine.warmup_song)
        else:
            log.info("model %s is warm on %s after %.2f s", spec.id, device, seconds)
        self._report(lambda session: workers.warmed(session, self.name, spec.id, device, seconds))

    def _recover(self, separator: Separator) -> None:
        """After what has gone well: what kept this worker from warming up is over."""
        if not self._ill:
            return
        model, device = separator.spec.id, _device(separator)
        try:
            with self.wiring.database.write() as session:
                workers.warmed(session, self.name, model, device, None)
        except SQLAlchemyError as error:  # nothing waits for this: the next time will do
            log.warning("could not report to be well: %s", type(error).__name__)
            return
        self._ill = False
        log.info("model %s works on %s after all", model, device)

    def _warm(self, spec: ModelSpec, tries: int = WARM_UPS) -> tuple[str, float | None]:
        """(runtime and device, seconds). Raises EngineError."""
        try:
            with self.separator(spec.id) as separator:
                seconds = self._exercise(separator)
                return _device(separator), seconds
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
        self._recover(separator)
        return separator


def _device(separator: Separator) -> str:
    return f"{separator.runtime.name} {separator.runtime.device}"
