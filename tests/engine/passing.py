"""A model without a network: each stem is a share of the song, so that what comes out is known beforehand."""

from __future__ import annotations

from collections.abc import Generator, Mapping

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.errors import EngineError
from engine.models.base import HighFrequencies, Song
from engine.runtimes.base import RuntimeInfo
from engine.stages import Stages


class Passing:
    """`failure` is raised instead of the next block; `lengths` says how long the blocks were that came."""

    gives_back = False
    patch_samples = 100_000
    runtime = RuntimeInfo("none", "0", "none", "f32", 1)
    weights_sha256 = ""

    def __init__(self, spec: ModelSpec, shares: Mapping[str, float]) -> None:
        self.spec, self.shares = spec, shares
        self.failure: EngineError | None = None
        self.lengths: list[int] = []
        self.closed = False

    def patch_start(self, patch: int) -> int:
        return patch * self.patch_samples

    def stream(
        self,
        song: Song,
        *,
        high_frequencies: HighFrequencies = "mixture",
        start_patch: int = 0,
        stages: Stages | None = None,
    ) -> Generator[Mapping[str, Samples]]:
        stems = self.spec.stems[:-1] if high_frequencies == "mixture" else self.spec.stems
        for block in song.blocks(self.patch_start(start_patch)):
            self.lengths.append(len(block))
            if self.failure is not None:
                raise self.failure
            yield {stem: block * self.shares[stem] for stem in stems}

    def close(self) -> None:
        self.closed = True
