"""What every model that is one loaded graph has in common; a family adds its `stream`."""

from __future__ import annotations

from collections.abc import Iterator

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.runtimes.base import RuntimeInfo, Session


class GraphModel:
    gives_back = False

    def __init__(self, spec: ModelSpec, session: Session, weights_sha256: str) -> None:
        self._spec = spec
        self._session = session
        self._weights_sha256 = weights_sha256

    @property
    def spec(self) -> ModelSpec:
        return self._spec

    @property
    def runtime(self) -> RuntimeInfo:
        return self._session.info

    @property
    def weights_sha256(self) -> str:
        return self._weights_sha256

    def close(self) -> None:
        self._session.close()


class Heard:
    """A song's blocks on their way into a model. `end` is the song's sample up to which they have come."""

    def __init__(self, blocks: Iterator[Samples], start: int) -> None:
        self._blocks = blocks
        self.end = start

    def __iter__(self) -> Iterator[Samples]:
        for block in self._blocks:
            self.end += len(block)
            yield block
