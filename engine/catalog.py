"""The models that this service knows: what each is, gives, weighs and may be used for.

Read from `assets/models.toml`; a new model is a new table there, not new code.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.errors import UnknownModel

Family = Literal["spleeter", "lite", "fake"]


@dataclass(frozen=True, slots=True)
class Archive:
    """A published archive of weights: where it lies and what it must be."""

    name: str
    url: str
    sha256: str
    directory: str
    """Folder below the cache that the unpacked archive becomes (several models may share one)."""
    size: int | None = None
    """Bytes of the archive, where they are published; else only the hash says that it is whole."""
    data_sha256: str | None = None
    """Of the unpacked checkpoint's data, where it is known: by it a copy that came another way is known."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    id: str
    family: Family
    title: str
    stems: tuple[str, ...]
    rate: int
    bins: int
    """How many of the 2049 bins of a 4096-point spectrum the network sees, from 0 Hz up."""
    licence: str
    licence_note: str
    archive: Archive | None = None
    graph: str | None = None
    """Committed ONNX graph, relative to the assets folder, for models that are always there."""
    graph_sha256: str | None = None
    centre: float = 0.0
    """How much more what differs between left and right counts against being vocals (see engine.models.lite); 0: as
    much as the network says."""

    @property
    def embedded(self) -> bool:
        return self.archive is None


class Catalog(Mapping[str, ModelSpec]):
    """Model id → ModelSpec, in the file's order; an unknown id raises UnknownModel with the known ones."""

    def __init__(self, specs: Mapping[str, ModelSpec], assets: Path) -> None:
        self._specs = dict(specs)
        self.assets = assets

    def __getitem__(self, model_id: str) -> ModelSpec:
        try:
            return self._specs[model_id]
        except KeyError:
            known = ", ".join(self._specs)
            raise UnknownModel(f"There is no model {model_id!r}. Known models: {known}.") from None

    def __contains__(self, model_id: object) -> bool:
        return model_id in self._specs

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)


def load_catalog(path: Path) -> Catalog:
    """Read `models.toml`; the folder it lies in is the assets folder of its graphs."""
    document = tomllib.loads(path.read_text("utf-8"))
    archives = {name: Archive(name=name, **table) for name, table in document["archives"].items()}
    specs = {}
    for model_id, table in document["models"].items():
        archive = archives[table.pop("archive")] if "archive" in table else None
        stems = tuple(table.pop("stems"))
        specs[model_id] = ModelSpec(id=model_id, stems=stems, archive=archive, **table)
    return Catalog(specs, path.parent)
