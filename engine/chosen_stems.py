"""Keeping some of a song's stems: a sink before another one."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from engine.audio import Samples
from engine.formats import Output
from engine.sink import StemSink
from engine.tags import Tags


class ChosenStems:
    """Passes the stems of `chosen` on to `sink`; the others are heard, measured and forgotten.

    A model makes all its stems in any case: the masks of one song are made of all of them.
    """

    def __init__(self, sink: StemSink, chosen: Collection[str]) -> None:
        self._sink = sink
        self._chosen = frozenset(chosen)

    def open(self, rate: int, channels: int, stems: Sequence[str], frames: int, tags: Tags | None = None) -> None:
        self._sink.open(rate, channels, [stem for stem in stems if stem in self._chosen], frames, tags)

    def write(self, stem: str, block: Samples) -> Samples:
        return self._sink.write(stem, block) if stem in self._chosen else block

    def commit(self) -> None:
        self._sink.commit()

    def discard(self) -> None:
        self._sink.discard()

    @property
    def output(self) -> Output | None:
        return self._sink.output
