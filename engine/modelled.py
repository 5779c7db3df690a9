"""The stems that a model makes of a song, at the song's rate and with its channels: by its network, or as they were
kept, patch by patch, when the network had made them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing

import numpy as np

from engine.audio import AudioInfo, Samples
from engine.dsp.resample import SegmentGrid
from engine.errors import EngineError, PatchCorrupt
from engine.models.base import HighFrequencies, Separator
from engine.prefetch import ahead
from engine.song_file import SongFile
from engine.stages import Stages

KeptPatch = Callable[[int], Samples]
"""A patch's number → its samples, as `engine.parts.separate_patches` handed them over."""
BLOCK_FRAMES = 1 << 15
"""Frames of a kept patch that are given at once; the song is decoded no further than to them."""


class ModelledStems:
    """`names` are the stems that the model itself makes: with `mixture` the last one is what they leave.

    Blocks are (frames, stems x channels) at the song's rate, one stem's channels beside the other's. They come
    from the first frame of a patch on to the song's end, and may have a few frames more. Patches lie at the same
    frames wherever a song is entered.
    """

    def __init__(self, separator: Separator, info: AudioInfo, high_frequencies: HighFrequencies) -> None:
        self.names = separator.spec.stems[:-1] if high_frequencies == "mixture" else separator.spec.stems
        self.channels = 1 if info.channels == 1 else 2
        self._separator, self._high_frequencies = separator, high_frequencies
        self._grid = SegmentGrid(separator.spec.rate, info.rate)

    def first_frame(self, patch: int) -> int:
        """Of the song, at its own rate."""
        return self._grid.new(self._separator.patch_start(patch))

    def sizes(self, patch: int) -> Iterator[int]:
        """How many frames `patch` and those after it have, where the song does not end before."""
        for number in itertools.count(patch):
            yield self.first_frame(number + 1) - self.first_frame(number)

    def by_stem(self, block: Samples) -> dict[str, Samples]:
        """Each stem's (frames, channels): views of the block."""
        channels = self.channels
        return {stem: block[:, channels * k : channels * (k + 1)] for k, stem in enumerate(self.names)}

    def from_network(self, song: SongFile, patch: int, stages: Stages) -> Generator[Samples]:
        """Raises what the song and the model raise. Threads work ahead until this is closed."""
        with closing(ahead(self._separated(song, patch, stages), "separate-inverse")) as blocks:
            yield from blocks

    def from_kept(
        self, song: SongFile, kept: KeptPatch, patch: int, patches: int | None, stages: Stages
    ) -> Generator[Samples]:
        """The song is decoded beside it, into `song.original`; only patches that it reaches are asked for, by
        the caller's own thread, since that may take long. Raises PatchCorrupt for one that does not fit the song.
        """
        with closing(ahead(song.play(self.first_frame(patch)), "separate-decode")) as decoded:

            def reaches(frame: int) -> bool:
                """Whether the song has `frame`; decodes up to it."""
                while song.frames <= frame:
                    if next(decoded, None) is None:
                        return False
                return True

            for number in itertools.count(patch) if patches is None else range(patch, patch + patches):
                begin, end = self.first_frame(number), self.first_frame(number + 1)
                if not reaches(begin):
                    return
                with stages.timing("kept"):
                    samples = kept(number)
                if samples.ndim != 2 or samples.shape[1] != len(self.names) * self.channels:
                    raise PatchCorrupt(f"Patch {number} that was kept has the shape {samples.shape}.")
                for start in range(0, len(samples), BLOCK_FRAMES):
                    block = samples[start : start + BLOCK_FRAMES]
                    reaches(begin + start + len(block) - 1)
                    yield block
                reaches(end - 1)
                if len(samples) != min(end, song.frames) - begin:
                    raise PatchCorrupt(f"Patch {number} that was kept has {len(samples)} frames: not this song's.")

    def whole(self, blocks: Iterator[Samples], song: SongFile, patch: int) -> Iterator[Samples]:
        """Without the few frames that resampled blocks may have beyond the song's end. Raises EngineError when
        the song has frames that did not come."""
        position = self.first_frame(patch)
        for block in blocks:
            # The song is always decoded further than its stems are, until its end is known.
            block = block[: song.frames - position]
            position += len(block)
            if len(block):
                yield block
        if position != song.frames:
            raise EngineError(f"Up to frame {song.frames} {position} came out: a fault of the engine.")

    def _separated(self, song: SongFile, patch: int, stages: Stages) -> Iterator[Samples]:
        first_frame = self.first_frame(patch)
        entry = self._grid.entry(first_frame)
        while self._separator.patch_start(patch) > entry:
            patch -= 1
        skip = entry - self._separator.patch_start(patch)
        stream = self._separator.stream(song, high_frequencies=self._high_frequencies, start_patch=patch, stages=stages)
        # Closed here, and not when it is forgotten: an error's traceback would keep it and its threads alive.
        with closing(stream):
            # One resampler for all stems: side by side, as channels.
            joined = (_joined([blocks[stem] for stem in self.names]) for blocks in stream)
            for block in self._grid.resampled(_skipping(joined, skip), first_frame):
                yield block if self.channels == 2 else _mono(block)


def _joined(stems: Sequence[Samples]) -> Samples:
    """Side by side, (frames, stems x 2)."""
    return stems[0] if len(stems) == 1 else np.concatenate(stems, axis=1)


def _mono(block: Samples) -> Samples:
    """(frames, stems x 2) → (frames, stems)."""
    mono: Samples = block.reshape(len(block), -1, 2).mean(axis=2, dtype=np.float32)
    return mono


def _skipping(blocks: Iterator[Samples], count: int) -> Iterator[Samples]:
    """All but the first `count` frames."""
    for block in blocks:
        if count < len(block):
            yield block[count:]
        count = max(0, count - len(block))
