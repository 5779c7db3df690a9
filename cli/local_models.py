"""Models for songs that are separated right here, from the cache that the service on this machine uses too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from engine.catalog import Catalog, ModelSpec, load_catalog
from engine.checkpoint import INDEX_NAME
from engine.models.base import Separator
from engine.runtimes.base import Precision
from engine.weights import WeightsStore

if TYPE_CHECKING:
    from backend.settings import Settings

CATALOG = Path(__file__).resolve().parent.parent / "assets" / "models.toml"
PREFERRED, EMBEDDED = "spleeter:2stems", "lite"


@dataclass
class LocalModels:
    """`weights`: a folder with a checkpoint, or with `2stems.tar.gz` or `2stems/`, asked before the cache.
    `graph_cache` and the cache of weights are the service's, unless said otherwise."""

    weights: Path | None = None
    graph_cache: Path | None = None

    @cached_property
    def catalog(self) -> Catalog:
        return load_catalog(CATALOG)

    def choose(self, model: str | None, stems: int | None) -> ModelSpec:
        """The model that is named, or Spleeter's for so many stems, or what the service would take: Spleeter's
        two stems where its weights are here, else the embedded one. Raises UnknownModel."""
        if model is not None:
            return self.catalog[model]
        if stems is not None:
            return self.catalog[f"spleeter:{stems}stems"]
        preferred = self.catalog[PREFERRED]
        here = self._has_checkpoint or self._store.ready(preferred)
        return preferred if here else self.catalog[EMBEDDED]

    def load(
        self,
        spec: ModelSpec,
        *,
        threads: int,
        runtime: str,
        precision: Precision | Literal["auto"],
        on_progress: Callable[[int, int | None], None],
    ) -> Separator:
        """Load a model, fetching its weights first if need be.

        Raises WeightsUnavailable, WeightsCorrupt or RuntimeUnavailable.
        """
        from engine.registry import load_separator  # with it come the runtimes

        weights = cache = None
        if not spec.embedded:
            weights = self.weights if self._has_checkpoint else self._store.pull(spec, on_progress)
            cache = self.graph_cache or self._settings.data_dir / "models" / "graphs"
        return load_separator(
            spec,
            self.catalog,
            threads=threads,
            weights_path=weights,
            runtime=runtime,
            precision=precision,
            graph_cache=cache,
            spleeter_python=self._settings.engine.spleeter_python if runtime == "spleeter_tf" else None,
            kserve_url=self._settings.engine.kserve_url if runtime == "kserve" else None,
        )

    @property
    def _has_checkpoint(self) -> bool:
        return self.weights is not None and (self.weights / INDEX_NAME).is_file()

    @cached_property
    def _store(self) -> WeightsStore:
        engine = self._settings.engine
        return WeightsStore(
            self._settings.data_dir / "models",
            mirror=engine.weights_mirror or None,
            local=self.weights or engine.weights_local,
        )

    @cached_property
    def _settings(self) -> Settings:
        # Only where the caches lie; nothing of the web or the database comes with it.
        from backend.settings import Settings

        return Settings()
