"""`lite`, the embedded model: vocals by a small network on spectra, accompaniment as what is left.

The song is heard twice. The first time its loudness is measured: the network was trained on spectra whose
RMS magnitude below bin 1024 is 1. The second time it is cut into chunks of 864 frames (20 s), each shown
to the network with 64 frames before and after, which are then thrown away. The network answers with a
matrix [LL LR; RL RR] for each bin below 1024; above it, where it sees nothing, the mean of bins 880 to
1009 (9.5 to 10.9 kHz) is carried on.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.catalog import ModelSpec
from engine.dsp.overlap import OverlapAdd
from engine.dsp.stft import BINS, BLOCK, SIZE, Spectra, centred, frame_segments, windowed_waves
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.models.base import Blocks, HighFrequencies
from engine.models.graph import GraphModel
from engine.prefetch import ahead
from engine.runtimes.base import Tensor
from engine.runtimes.onnx import OnnxRuntime
from engine.sample_queue import SampleQueue

CHUNK = 864
CONTEXT = 64
STEP = 8
"""The network takes a multiple of so many frames."""
CARRIED = slice(880, 1010)
"""Bins whose mean matrix serves all bins that the network does not see."""


def load(spec: ModelSpec, graph: Path, *, threads: int) -> LiteSeparator:
    """Raises WeightsUnavailable without the graph, WeightsCorrupt when it is not the catalogue's."""
    try:
        found = hashlib.sha256(graph.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise WeightsUnavailable(f"The graph of model {spec.id!r} is missing: {graph.name}.") from None
    if found != spec.graph_sha256:
        raise WeightsCorrupt(f"The graph of model {spec.id!r} has sha256 {found}, not {spec.graph_sha256}.")
    return LiteSeparator(spec, OnnxRuntime().load(graph, threads=threads), found)


class LiteSeparator(GraphModel):
    def stream(self, song: Blocks, *, high_frequencies: HighFrequencies = "mixture") -> Iterator[Mapping[str, Samples]]:
        """See `engine.models.base.Separator`. `zeros` leaves vocals nothing above bin 1024."""
        gain = measure_gain(song())
        mix = SampleQueue(channels=2)
        overlap = OverlapAdd(channels=2)
        skip = SIZE // 2
        with closing(ahead(self._masked(_remembered(song(), mix), gain), 1, "lite-network")) as chunks:
            for spectrum, demix in chunks:
                for start in range(0, spectrum.shape[1], BLOCK):
                    part = slice(start, start + BLOCK)
                    vocals = apply_matrix(spectrum[:, part], demix[:, part], high_frequencies != "zeros")
                    done = overlap.push(windowed_waves(vocals))
                    kept, skip = done[skip:], max(0, skip - len(done))
                    if len(kept):
                        yield _stems(kept, mix)
        yield _stems(overlap.finish()[skip:], mix)

    def _masked(self, blocks: Iterator[Samples], gain: float) -> Iterator[tuple[Spectra, Tensor]]:
        """Chunks of spectra (2, frames, 2049) with their matrices (4, frames, 1024)."""
        with closing(chunked(blocks)) as chunks:
            for spectrum, keep in chunks:
                (demix,) = self._session.run({"magnitudes": magnitudes(spectrum, gain)})
                yield spectrum[:, keep], demix[0, :, keep]


def _stems(vocals: Samples, mix: SampleQueue) -> Mapping[str, Samples]:
    original = mix.pop(len(vocals))
    vocals = vocals[: len(original)]  # the last frame reaches past the song's end
    return {"vocals": vocals, "accompaniment": original - vocals}


def _remembered(blocks: Iterator[Samples], mix: SampleQueue) -> Iterator[Samples]:
    """Pass blocks on and keep them in `mix` until the vocals of the same moment are there."""
    for block in blocks:
        mix.push(block)
        yield block


def measure_gain(blocks: Iterator[Samples]) -> float:
    """1 / (RMS magnitude over both channels, all frames and the bins that the network sees)."""
    energy, values = 0.0, 0
    with closing(ahead(blocks, 2, "lite-listen")) as heard:
        for spectrum in frame_segments(centred(heard)):
            seen = np.ascontiguousarray(spectrum[:, :, :1024])
            for group in seen.view(np.float32).reshape(-1, 1024):
                energy += float(np.dot(group, group))
            values += seen.size
    return 1 / (math.sqrt(energy / max(1, values)) + 1e-9)


def chunked(blocks: Iterator[Samples]) -> Generator[tuple[Spectra, slice]]:
    """Spectra with context, (2, up to CONTEXT + CHUNK + CONTEXT, 2049), and the part that is the chunk."""
    held = np.empty((2, 0, BINS), np.complex64)
    before = 0
    pending: list[Spectra] = [held]
    waiting = 0
    for segment in frame_segments(centred(blocks)):
        pending.append(segment)
        waiting += segment.shape[1]
        while waiting >= before + CHUNK + CONTEXT:
            held = np.concatenate(pending, axis=1) if len(pending) > 1 else pending[0]
            yield held[:, : before + CHUNK + CONTEXT], slice(before, before + CHUNK)
            held = held[:, before + CHUNK - CONTEXT :].copy()
            pending, waiting, before = [held], held.shape[1], CONTEXT
    held = np.concatenate(pending, axis=1)
    while held.shape[1] > before:
        end = min(held.shape[1], before + CHUNK)
        yield held[:, : end + CONTEXT], slice(before, end)
        held, before = held[:, max(0, end - CONTEXT) :], CONTEXT


def magnitudes(spectrum: Spectra, gain: float) -> Tensor:
    """(2, frames, 2049) → what the network takes: |L|, |R|, |L+R|/2, |L-R|/2 times `gain`,
    (1, 4, frames rounded up to STEP, 1024), padded with zeros."""
    frames = spectrum.shape[1]
    result = np.zeros((1, 4, -(-frames // STEP) * STEP, 1024), np.float32)
    for start in range(0, frames, BLOCK):
        part = slice(start, min(frames, start + BLOCK))
        left, right = spectrum[0, part, :1024] * np.float32(gain), spectrum[1, part, :1024] * np.float32(gain)
        sides = (left, right, (left + right) * np.float32(0.5), (left - right) * np.float32(0.5))
        for row, side in zip(result[0], sides, strict=True):
            np.abs(side, out=row[part])
    return result


def apply_matrix(spectrum: Spectra, demix: Tensor, carry_on: bool) -> Spectra:
    """Vocals of a few frames: (2, frames, 2049) by (4, frames, 1024) → (2, frames, 2049)."""
    vocals: NDArray[np.complex64] = np.zeros_like(spectrum)
    low, high = spectrum[:, :, :1024], spectrum[:, :, 1024:]
    carried = demix[:, :, CARRIED].mean(axis=2, keepdims=True)
    for output, (direct, across) in enumerate(((0, 1), (2, 3))):
        vocals[output, :, :1024] = demix[direct] * low[0] + demix[across] * low[1]
        if carry_on:
            vocals[output, :, 1024:] = carried[direct] * high[0] + carried[across] * high[1]
    return vocals
