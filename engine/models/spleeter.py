"""Spleeter's models on a graph: the same numbers as Spleeter's own, as a stream.

Spleeter puts 4096 zeros before the song, cuts it into frames of 4096 samples every 1024 (the last ones
filled with zeros) and shows the network patches of 512 frames (the last one filled with zeros). Patches
don't overlap, so one after the other gives what Spleeter gives for the whole song at once, and a song can be
entered at any of them. Source: spleeter/model/__init__.py, 2.4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np

from engine.audio import Samples
from engine.batching import shared
from engine.catalog import ModelSpec
from engine.checkpoint import weights_sha256
from engine.dsp.masks import apply_mask, last_mask
from engine.dsp.overlap import OverlapAdd
from engine.dsp.stft import BLOCK, HOP, SIZE, Waves, block_of, framed, magnitudes, samples_of, spectra, windowed_waves
from engine.models.base import HighFrequencies, Song
from engine.models.graph import GraphModel, Heard
from engine.prefetch import ahead
from engine.runtimes.base import Precision, Runtime, Tensor
from engine.runtimes.openvino import OpenVinoRuntime
from engine.spleeter_graph import INPUT, PATCH_FRAMES, VARIANTS, cached_graph
from engine.stages import Stages

PATCH = PATCH_FRAMES * HOP


def load(
    spec: ModelSpec,
    weights: Path,
    runtime: Runtime,
    *,
    threads: int,
    precision: Precision | Literal["auto"] = "auto",
    graph_cache: Path | None = None,
) -> SpleeterSeparator:
    """`weights` is a folder that `WeightsStore.pull` gave. The graph built from it is kept in `graph_cache`
    (one file of the weights' size for each model), so that only the first start builds it.

    `auto` is not bf16 for 5 stems: their softmax makes of its rounding what is heard (22 dB below Spleeter's
    own stems with random weights, where 2 stems have 41 and 4 have 36).

    Raises WeightsCorrupt for weights that are not this model's, and what `runtime` raises.
    """
    if precision == "auto" and runtime.name == OpenVinoRuntime.name and VARIANTS[len(spec.stems)].softmax:
        precision = "f32"
    sha256 = weights_sha256(weights)
    shape = {INPUT: (1, 2, PATCH_FRAMES, spec.bins)}
    with tempfile.TemporaryDirectory() as temporary:
        graph = cached_graph(weights, sha256, spec.stems, spec.bins, graph_cache or Path(temporary))
        session = runtime.load(graph, threads=threads, precision=precision, shape=shape)
    return SpleeterSeparator(spec, shared(session), sha256)


class SpleeterSeparator(GraphModel):
    gives_back = True
    patch_samples = PATCH

    def patch_start(self, patch: int) -> int:
        """What comes before has met its last frame in the patch before; see `Separator`."""
        return max(0, patch * PATCH - SIZE)

    def stream(
        self,
        song: Song,
        *,
        high_frequencies: HighFrequencies = "mixture",
        start_patch: int = 0,
        stages: Stages | None = None,
    ) -> Generator[Mapping[str, Samples]]:
        """See `engine.models.base.Separator`. The patch before the first one asked for is computed too: its
        last frames reach into it."""
        stages = stages or Stages()
        stems = self._spec.stems[:-1] if high_frequencies == "mixture" else self._spec.stems
        overlaps = [OverlapAdd(channels=2) for _ in stems]
        first = max(0, start_patch - 1)
        position, begin = first * PATCH - SIZE, self.patch_start(start_patch)
        heard = Heard(song.blocks(max(0, position)), max(0, position))
        with closing(ahead(self._masked(heard, first, stages), "spleeter-network")) as patches:
            for waves, masks in patches:
                for start in range(0, PATCH_FRAMES, BLOCK):
                    # The last patch reaches past the song's end, which has been met by then.
                    keep = slice(max(0, begin - position), max(0, heard.end - position))
                    with stages.timing("inverse"):
                        part = slice(start, start + BLOCK)
                        spectrum = spectra(block_of(waves, part))
                        shares = [mask[0, :, part] for mask in masks]
                        if len(stems) > len(shares):
                            shares.append(last_mask(shares))
                        blocks = {}
                        for stem, overlap, share in zip(stems, overlaps, shares, strict=True):
                            masked = apply_mask(spectrum, share, extend=high_frequencies != "zeros")
                            blocks[stem] = overlap.push(windowed_waves(masked))[keep]
                    position += BLOCK * HOP
                    if len(blocks[stems[0]]):
                        # Stem and song come out at the same place: that many hops behind the patch's start. A copy,
                        # because the whole patch's waves would wait for its last block to be written.
                        song.take_back(waves[:, start * HOP : (start + BLOCK) * HOP].copy().T[keep])
                        yield blocks
                    if position >= heard.end:
                        break
                del waves, masks, shares  # not kept until the next patch has come

    def _masked(self, heard: Heard, first: int, stages: Stages) -> Iterator[tuple[Waves, list[Tensor]]]:
        """The waves under each patch, (2, samples_of(512)), and the masks of all stems but the last,
        (1, 2, 512, bins) each."""
        with closing(ahead(self._patches(heard, first, stages), "spleeter-spectra")) as patches:
            for waves, magnitude in patches:
                with stages.timing("network"):
                    masks = list(self._session.run({INPUT: magnitude}))
                del magnitude  # not kept until the next patch has come; nor are these
                yield waves, masks
                del waves, masks

    def _patches(self, heard: Heard, first: int, stages: Stages) -> Iterator[tuple[Waves, Tensor]]:
        for waves in framed(_padded(heard, first), PATCH_FRAMES):
            with stages.timing("spectra"):
                magnitude = magnitudes(waves, self._spec.bins)[np.newaxis]
            yield waves, magnitude
            del waves, magnitude


def _padded(heard: Heard, first: int) -> Iterator[Samples]:
    """The song from patch `first` on between Spleeter's zeros, whose last ones fill the last patch."""
    if first == 0:
        yield np.zeros((SIZE, 2), np.float32)
    yield from heard
    length = heard.end + SIZE - first * PATCH
    patches = -(-length // PATCH)
    yield np.zeros((max(0, samples_of(PATCH_FRAMES) + (patches - 1) * PATCH - length), 2), np.float32)
