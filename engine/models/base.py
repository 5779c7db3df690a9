"""What a separation model is to the rest of the engine: blocks of song in, blocks of stems out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal, Protocol

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.runtimes.base import RuntimeInfo

Blocks = Callable[[], Iterator[Samples]]
"""Opens the song anew and yields it from its start in blocks (frames, 2) at the model's rate, of any sizes.

A callable and not an iterator, because a model may need to hear the song twice (`lite` measures its
loudness first); each call decodes again, so memory stays flat.
"""


HighFrequencies = Literal["zeros", "average", "mixture"]
"""What becomes of the bins that the network does not see: nothing (Spleeter's own default, for parity),
the average mask of the bins it sees, or `average` with what is then still missing from the mix added to
the last stem, so that the stems sum to the song (the default)."""


class Separator(Protocol):
    """A loaded, warm model. Thread-safe: every call of `stream` keeps its own state."""

    @property
    def spec(self) -> ModelSpec: ...

    @property
    def runtime(self) -> RuntimeInfo: ...

    @property
    def weights_sha256(self) -> str: ...

    def stream(self, song: Blocks, *, high_frequencies: HighFrequencies = "mixture") -> Iterator[Mapping[str, Samples]]:
        """Yield blocks of every stem, (frames, 2) at `spec.rate`, all stems of a block equally long.

        Concatenated, each stem is exactly as long as the song. Memory does not grow with the song.
        The remainder of `mixture` is not the model's work: `engine.separate` adds it at the song's own
        rate, so a model treats `mixture` as `average`.
        """
        ...

    def close(self) -> None: ...
