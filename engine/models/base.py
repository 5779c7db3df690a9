"""What a separation model is to the rest of the engine: blocks of song in, blocks of stems out."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from typing import Literal, Protocol

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.runtimes.base import RuntimeInfo
from engine.stages import Stages

HighFrequencies = Literal["zeros", "average", "mixture"]
"""What becomes of the bins that the network does not see: nothing (Spleeter's own default, for parity),
the average mask of the bins it sees, or `average` with the last stem being all that is then left of the
song, so that the stems sum to it (the default)."""


class Song(Protocol):
    """A song as a model hears it: blocks (frames, 2) of any sizes at the model's rate.

    Every call decodes anew, so that memory stays flat whatever the length.
    """

    def listen(self) -> Iterator[Samples]:
        """The whole song, to be measured only (`lite` asks for its loudness first)."""
        ...

    def blocks(self, start: int = 0) -> Iterator[Samples]:
        """The song from sample `start` to its end, to be separated."""
        ...

    def take_back(self, block: Samples) -> None:
        """What `blocks` gave, (frames, 2), from a model that holds it until its stems are there: right before it
        yields those. So the song need not hold it as well."""
        ...


class ArraySong:
    """A song that is in memory already, (frames, 2) at the model's rate."""

    def __init__(self, samples: Samples, block_frames: int = 22_050) -> None:
        self._samples = samples
        self._block_frames = block_frames

    def listen(self) -> Iterator[Samples]:
        return self.blocks()

    def blocks(self, start: int = 0) -> Iterator[Samples]:
        for begin in range(start, len(self._samples), self._block_frames):
            yield self._samples[begin : begin + self._block_frames]

    def take_back(self, block: Samples) -> None:
        pass


class Separator(Protocol):
    """A loaded, warm model. Thread-safe: every call of `stream` keeps its own state."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def runtime(self) -> RuntimeInfo: ...

    @property
    def weights_sha256(self) -> str: ...

    @property
    def gives_back(self) -> bool:
        """Whether `stream` calls the song's `take_back`."""
        ...

    @property
    def patch_samples(self) -> int:
        """Samples at `spec.rate` from one patch to the next: where a song can be cut into ranges."""
        ...

    def patch_start(self, patch: int) -> int:
        """The song's sample at which the output of `patch` begins; 0 for the first one."""
        ...

    def stream(
        self,
        song: Song,
        *,
        high_frequencies: HighFrequencies = "mixture",
        start_patch: int = 0,
        stages: Stages | None = None,
    ) -> Generator[Mapping[str, Samples]]:
        """Yield blocks of the stems from `patch_start(start_patch)` to the song's end, (frames, 2) at
        `spec.rate`, all stems of a block equally long; the caller stops where it wants to.

        The numbers are the same bits wherever it starts. Memory does not grow with the song. With `mixture`
        the last stem is left out: it is what remains, and `engine.separate` finds it at the song's own rate.
        `stages` is told how long each stage worked.
        """
        ...

    def close(self) -> None: ...
