"""Spleeter's models on an ONNX graph: the same numbers as Spleeter's own, as a stream.

Spleeter puts 4096 zeros before the song, cuts it into frames of 4096 samples every 1024 (the last ones
filled with zeros) and shows the network patches of 512 frames (the last one filled with zeros). Patches
don't overlap, so one after the other gives what Spleeter gives for the whole song at once. Source:
spleeter/model/__init__.py, 2.4.2.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.dsp.masks import apply_mask, ratio_masks
from engine.dsp.overlap import OverlapAdd
from engine.dsp.stft import BINS, BLOCK, HOP, SIZE, Spectra, frame_segments, windowed_waves
from engine.errors import RuntimeUnavailable
from engine.models.base import Blocks, HighFrequencies
from engine.models.graph import GraphModel
from engine.prefetch import ahead
from engine.runtimes.base import Runtime, Tensor
from engine.runtimes.onnx import OnnxRuntime
from engine.spleeter_graph import INPUT, PATCH_FRAMES, cached_graph, weights_sha256

RUNTIMES: Mapping[str, type[Runtime]] = {"auto": OnnxRuntime, OnnxRuntime.name: OnnxRuntime}


def load(
    spec: ModelSpec, weights: Path, *, threads: int, runtime: str = "auto", graph_cache: Path | None = None
) -> SpleeterSeparator:
    """`weights` is a folder that `WeightsStore.pull` gave. The graph built from it is kept in `graph_cache`
    (one file of the weights' size for each model), so that only the first start builds it.

    Raises WeightsCorrupt for weights that are not this model's, RuntimeUnavailable for an unknown runtime.
    """
    if runtime not in RUNTIMES:
        raise RuntimeUnavailable(f"Spleeter's models have no runtime {runtime!r}; there are {', '.join(RUNTIMES)}.")
    sha256 = weights_sha256(weights)
    with tempfile.TemporaryDirectory() as temporary:
        graph = cached_graph(weights, sha256, spec.stems, spec.bins, graph_cache or Path(temporary))
        session = RUNTIMES[runtime]().load(graph, threads=threads)
    return SpleeterSeparator(spec, session, sha256)


class SpleeterSeparator(GraphModel):
    def stream(self, song: Blocks, *, high_frequencies: HighFrequencies = "mixture") -> Iterator[Mapping[str, Samples]]:
        """See `engine.models.base.Separator`."""
        extend = high_frequencies != "zeros"
        padded = _Padded(song())
        overlaps = [OverlapAdd(channels=2) for _ in self._spec.stems]
        skip, given = SIZE, 0
        for spectrum, estimates in ahead(self._estimated(padded), 1, "spleeter-network"):
            for start in range(0, spectrum.shape[1], BLOCK):
                part = slice(start, start + BLOCK)
                masks = ratio_masks([estimate[0, :, : spectrum.shape[1]][:, part] for estimate in estimates])
                waves = [
                    overlap.push(windowed_waves(apply_mask(spectrum[:, part], mask, extend=extend)))
                    for overlap, mask in zip(overlaps, masks, strict=True)
                ]
                # The last frame reaches past the song's end, which `padded` has met by then.
                keep = slice(skip, skip + padded.length - given)
                skip = max(0, skip - len(waves[0]))
                given += len(waves[0][keep])
                if len(waves[0][keep]):
                    yield {stem: wave[keep] for stem, wave in zip(self._spec.stems, waves, strict=True)}

    def _estimated(self, padded: _Padded) -> Iterator[tuple[Spectra, list[Tensor]]]:
        """Patches of spectra (2, up to 512, 2049) and each stem's magnitudes (1, 2, 512, bins)."""
        patches = ahead(patched(frame_segments(padded.blocks())), 1, "spleeter-spectra")
        for spectrum in patches:
            magnitudes = np.zeros((1, 2, PATCH_FRAMES, self._spec.bins), np.float32)
            np.abs(spectrum[:, :, : self._spec.bins], out=magnitudes[0, :, : spectrum.shape[1]])
            yield spectrum, list(self._session.run({INPUT: magnitudes}))


class _Padded:
    """The song between Spleeter's zeros; `length` counts its own samples so far."""

    def __init__(self, song: Iterator[Samples]) -> None:
        self._song = song
        self.length = 0

    def blocks(self) -> Iterator[Samples]:
        yield np.zeros((SIZE, 2), np.float32)
        for block in self._song:
            self.length += len(block)
            yield block
        # As many as fill the last frame that starts within the song.
        yield np.zeros((SIZE - HOP + -(SIZE + self.length) % HOP, 2), np.float32)


def patched(segments: Iterator[Spectra]) -> Iterator[Spectra]:
    """Spectra in any portions → in patches of 512 frames, (2, 512, 2049); the last one may be shorter."""
    patch, filled = np.empty((2, PATCH_FRAMES, BINS), np.complex64), 0
    for segment in segments:
        taken = 0
        while taken < segment.shape[1]:
            count = min(PATCH_FRAMES - filled, segment.shape[1] - taken)
            patch[:, filled : filled + count] = segment[:, taken : taken + count]
            filled, taken = filled + count, taken + count
            if filled == PATCH_FRAMES:
                yield patch
                patch, filled = np.empty_like(patch), 0
    if filled:
        yield patch[:, :filled]
