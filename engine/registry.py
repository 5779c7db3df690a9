"""Loaded models: each loaded once, kept warm, the least recently used one let go when there are too many."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engine.catalog import Catalog, ModelSpec
from engine.errors import RuntimeUnavailable, UnknownModel, WeightsUnavailable
from engine.memory import keep_memory_flat
from engine.models.base import Separator
from engine.runtimes import spleeter_tf
from engine.runtimes.base import Precision
from engine.runtimes.choose import choose


def load_separator(
    spec: ModelSpec,
    catalog: Catalog,
    *,
    threads: int,
    weights_path: Path | None = None,
    runtime: str = "auto",
    precision: Precision | Literal["auto"] = "auto",
    graph_cache: Path | None = None,
    spleeter_python: Path | None = None,
    kserve_url: str | None = None,
) -> Separator:
    """Load a model by its family; `weights_path` is the folder of weights that are not embedded.

    `graph_cache` keeps graphs that are built from weights, for later starts. With the
    runtime `spleeter_tf` Spleeter's models run in Spleeter itself, by the interpreter `spleeter_python`; with
    `kserve` a server at `kserve_url` runs the graphs.
    Raises WeightsUnavailable, WeightsCorrupt or RuntimeUnavailable.
    """
    keep_memory_flat()
    if spec.family == "spleeter" and weights_path is None:
        raise WeightsUnavailable(f"The weights of model {spec.id!r} are not in the cache.")
    if spec.family == "spleeter" and weights_path is not None and runtime == spleeter_tf.NAME:
        if spleeter_python is None:
            raise RuntimeUnavailable("Nobody said where Spleeter's environment is: see scripts/setup-spleeter.")
        return spleeter_tf.load(spec, weights_path, python=spleeter_python, threads=threads)
    # Spleeter's own runtime runs Spleeter's models; all others then run on what there is.
    chosen = choose("auto" if runtime == spleeter_tf.NAME else runtime, server_url=kserve_url)
    if spec.family == "spleeter" and weights_path is not None:
        from engine.models import spleeter

        return spleeter.load(spec, weights_path, chosen, threads=threads, precision=precision, graph_cache=graph_cache)
    if spec.family == "lite" and spec.graph is not None:
        from engine.models import lite

        return lite.load(spec, catalog.assets / spec.graph, chosen, threads=threads, precision=precision)
    raise UnknownModel(f"Nothing here can run model {spec.id!r} of family {spec.family!r}.")


@dataclass
class _Place:
    """One model's place: its lock is held while it loads, so that others can be used meanwhile."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    separator: Separator | None = None
    users: int = 0


class Registry:
    """`load` turns a ModelSpec into a Separator; at most `limit` idle ones are kept. Thread-safe."""

    def __init__(self, catalog: Catalog, load: Callable[[ModelSpec], Separator], *, limit: int = 2) -> None:
        self._catalog = catalog
        self._load = load
        self._limit = limit
        self._lock = threading.Lock()
        self._places: OrderedDict[str, _Place] = OrderedDict()

    @contextmanager
    def lease(self, model_id: str) -> Iterator[Separator]:
        """A loaded model, which nobody closes while it is leased. A failed load is tried again next time.

        Raises UnknownModel and what `load` raises.
        """
        spec = self._catalog[model_id]
        with self._lock:
            place = self._places.setdefault(model_id, _Place())
            self._places.move_to_end(model_id)
            place.users += 1
        try:
            with place.lock:
                if place.separator is None:
                    place.separator = self._load(spec)
                separator = place.separator
            yield separator
        finally:
            with self._lock:
                place.users -= 1
            self._evict(self._limit)

    @property
    def loaded(self) -> list[str]:
        """Ids of loaded models, least recently used first."""
        with self._lock:
            return [model_id for model_id, place in self._places.items() if place.separator is not None]

    def close(self) -> None:
        """Let go of every model that is not leased."""
        self._evict(0)

    def _evict(self, keep: int) -> None:
        closing: list[Separator] = []
        with self._lock:
            for model_id, place in list(self._places.items()):
                if place.users:
                    continue
                if place.separator is None:
                    del self._places[model_id]  # It never loaded.
                elif len(self._places) > keep:
                    del self._places[model_id]
                    closing.append(place.separator)
        for separator in closing:
            separator.close()
