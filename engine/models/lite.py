"""`lite`, the embedded model: vocals by a small network on spectra, accompaniment as what is left.

The song is heard twice. The first time its loudness and width are measured: the network was trained on spectra whose
RMS magnitude below bin 1024 is 1. The second time it is cut into chunks of 896 frames (21 s), each shown to the network
with 128 frames (3 s) before and after, which are then thrown away; what lies further away hardly counts for a frame
(-64 dB, ADR 37). It answers with a matrix [LL LR; RL RR] for each bin below 1024; above it, where it sees nothing,
the mean of bins 880 to 1009 (9.5 to 10.9 kHz) is carried on.

Singers are mixed to the middle, so the matrix is weighed by how central its bin is: |M|² / (|M|² + k·|S|²), with
M = (L+R)/2 and S = (L-R)/2, the Wiener filter of the middle against k times the sides. Where what the network takes for
voice is wider than all that sounds there, or nothing else sounds, k falls to 0 (ADR 38).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples
from engine.batching import shared
from engine.catalog import ModelSpec
from engine.dsp.overlap import OverlapAdd
from engine.dsp.stft import (
    BLOCK,
    HOP,
    SIZE,
    Spectra,
    Waves,
    block_of,
    centred,
    ending_mirrored,
    frames_in,
    hann,
    samples_of,
    spectra,
    windowed_waves,
)
from engine.errors import WeightsCorrupt, WeightsUnavailable
from engine.models.base import HighFrequencies, Song
from engine.models.graph import GraphModel, Heard
from engine.prefetch import ahead
from engine.runtimes.base import Precision, Runtime, Tensor
from engine.sample_queue import SampleQueue
from engine.stages import Stages

CHUNK = 896
CONTEXT = 128
"""Frames before and after. The recurrent middle hears windows of 192 frames, of which it keeps the 64 in their middle,
and the convolutions around it reach up to 77 frames further, ever more weakly."""
STEP = 64
"""The network takes a multiple of so many frames, and its windows begin at multiples of them, counted from the song's
start: CHUNK and CONTEXT are such multiples too."""
SEEN = 1024
"""Bins that the network sees."""
CARRIED = slice(880, 1010)
"""Bins whose mean matrix serves all bins that the network does not see."""
NEAR = 96
"""Frames (2.2 s) before and after a frame that tell how wide its voice is: the energy of S over that of M."""
EVERY = 4
"""Of these one frame in so many is looked at."""
NARROW, WIDE = 0.06, 0.5
"""A voice narrower than this is in the middle, whatever surrounds it; one much wider never is: a singer on one side, or
one channel silent, has 1."""
TRUSTED, DOUBTED = 0.9, 1.3
"""Width of the voice over that of the whole: up to the first k counts fully, from the second on not at all."""
BESIDE, ALONE = 0.88, 0.95
"""Energy of the voice over that of the whole: where it is alone nothing has to be taken from it, however wide it is."""
QUIET = 1e-12
"""Of magnitudes squared: where nothing sounds, nothing is off the middle."""
PER_MEAN_SQUARE = SIZE / 2 * float(np.square(hann()).sum()) / SEEN
"""Mean of |X|² over the bins seen, for samples of mean square 1: half of a spectrum's energy lies in positive
frequencies, and it is the windowed samples' times SIZE."""


def load(
    spec: ModelSpec, graph: Path, runtime: Runtime, *, threads: int, precision: Precision | Literal["auto"] = "auto"
) -> LiteSeparator:
    """Raises WeightsUnavailable without the graph, WeightsCorrupt when it is not the catalogue's."""
    try:
        found = hashlib.sha256(graph.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise WeightsUnavailable(f"The graph of model {spec.id!r} is missing: {graph.name}.") from None
    if found != spec.graph_sha256:
        raise WeightsCorrupt(f"The graph of model {spec.id!r} has sha256 {found}, not {spec.graph_sha256}.")
    return LiteSeparator(spec, shared(runtime.load(graph, threads=threads, precision=precision)), found)


class LiteSeparator(GraphModel):
    patch_samples = CHUNK * HOP

    def patch_start(self, patch: int) -> int:
        """See `Separator`; frame k has its middle on sample k · HOP."""
        return max(0, patch * self.patch_samples - SIZE // 2)

    def stream(
        self,
        song: Song,
        *,
        high_frequencies: HighFrequencies = "mixture",
        start_patch: int = 0,
        stages: Stages | None = None,
    ) -> Generator[Mapping[str, Samples]]:
        """See `engine.models.base.Separator`. `zeros` leaves vocals nothing above bin 1024. Wherever it
        starts, the whole song is heard first, and the chunk before is computed too: its last frames reach
        into the one asked for."""
        stages = stages or Stages()
        gain = loudness_gain(song.listen())
        first = max(0, start_patch - 1)
        begin, position = self.patch_start(start_patch), first * self.patch_samples - SIZE // 2
        entry = max(0, position - CONTEXT * HOP) if first else 0
        mix = None if high_frequencies == "mixture" else SampleQueue(channels=2)
        heard = Heard(song.blocks(entry), entry)
        blocks = iter(heard) if mix is None else _remembered(heard, mix, entry, begin)
        overlap = OverlapAdd(channels=2, edges=True)
        with closing(ahead(self._masked(blocks, first, gain, stages), "lite-network")) as chunks:
            for waves, demix in chunks:
                for start in range(0, demix.shape[1], BLOCK):
                    with stages.timing("inverse"):
                        part = slice(start, min(start + BLOCK, demix.shape[1]))
                        spectrum = spectra(block_of(waves, part))
                        vocals = apply_matrix(spectrum, demix[:, part], high_frequencies != "zeros")
                        done = overlap.push(windowed_waves(vocals))
                    kept = done[max(0, begin - position) :]
                    position += len(done)
                    if len(kept):
                        yield self._stems(kept, mix)
        # The last frame reaches past the song's end.
        rest = overlap.finish()[max(0, begin - position) : max(0, heard.end - position)]
        if len(rest):
            yield self._stems(rest, mix)

    def _masked(
        self, blocks: Iterator[Samples], first: int, gain: float, stages: Stages
    ) -> Iterator[tuple[Waves, Tensor]]:
        """The waves of each chunk, (2, samples), with its frames' matrices, (4, frames, 1024)."""
        with closing(ahead(_heard_chunks(blocks, first, gain, stages), "lite-spectra")) as chunks:
            for waves, keep, magnitude in chunks:
                with stages.timing("network"):
                    (demix,) = self._session.run({"magnitudes": magnitude})
                    heard = slice(frames_in(waves.shape[1]))  # without those that only fill up
                    middle, side = magnitude[0, 2:, heard]
                    sides = sides_by_frame(demix[0, :, heard], middle, side, self._spec.centre)
                    matrices = demix[0, :, keep] * central(middle[keep], side[keep], sides[keep])
                yield block_of(waves, keep), matrices

    def _stems(self, vocals: Samples, mix: SampleQueue | None) -> Mapping[str, Samples]:
        if mix is None:
            return {"vocals": vocals}
        return {"vocals": vocals, "accompaniment": mix.pop(len(vocals)) - vocals}


def _remembered(blocks: Heard, mix: SampleQueue, position: int, begin: int) -> Iterator[Samples]:
    """Pass blocks on and keep them, from sample `begin` on, until the vocals of the same moment are there."""
    for block in blocks:
        mix.push(block[max(0, begin - position) :])
        position += len(block)
        yield block


def loudness_gain(blocks: Iterator[Samples]) -> float:
    """1 / (RMS magnitude over both channels, all frames and the bins that the network sees) of a song, (frames, 2) in
    blocks.

    By Parseval's theorem from the samples' mean square, as if everything in it lay below 11 kHz: there was so little
    above it in eight recordings that this came within 0.05 dB, and it needs no spectra.
    """
    energy, values = 0.0, 0
    with closing(ahead(blocks, "lite-listen")) as heard:
        for block in heard:
            flat = block.reshape(-1)
            energy += float(np.dot(flat, flat))
            values += flat.size
    return 1 / (math.sqrt(PER_MEAN_SQUARE * energy / max(1, values)) + 1e-9)


def sides_by_frame(demix: Tensor, middle: Tensor, side: Tensor, centre: float) -> Tensor:
    """k of each frame, (frames, 1), from matrices (4, frames, bins) and magnitudes (frames, bins).

    The voice is taken as (LL+RR)/2 times the song here: what goes across hardly counts for these sums.
    """
    frames = len(middle)
    gains = np.square((demix[0, ::EVERY] + demix[3, ::EVERY]) / 2)
    energies = [np.square(each[::EVERY]) for each in (middle, side)]
    sums = [np.einsum("fb,fb->f", gains, energy) for energy in energies] + [energy.sum(1) for energy in energies]
    voice_middle, voice_side, whole_middle, whole_side = _near(np.stack(sums), NEAR // EVERY) + QUIET
    wider = voice_side / voice_middle / np.clip(whole_side / whole_middle, NARROW, WIDE)
    share = (voice_middle + voice_side) / (whole_middle + whole_side)
    sides = centre * _falling(wider, TRUSTED, DOUBTED) * _falling(share, BESIDE, ALONE)
    return np.repeat(sides, EVERY)[:frames, None].astype(np.float32)


def _falling(values: NDArray[np.float64], full: float, none: float) -> NDArray[np.float64]:
    """1 up to `full`, 0 from `none` on, straight between."""
    return np.clip((none - values) / (none - full), 0, 1)


def _near(rows: NDArray[np.float32], reach: int) -> NDArray[np.float64]:
    """Sums over each value and up to `reach` of them on either side, (rows, values) → (rows, values)"""
    count = rows.shape[1]
    sums = np.cumsum(np.pad(rows.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    place = np.arange(count)
    found: NDArray[np.float64] = sums[:, np.minimum(place + reach + 1, count)] - sums[:, np.maximum(place - reach, 0)]
    return found


def central(middle: Tensor, side: Tensor, sides: Tensor) -> Tensor:
    """|M|² / (|M|² + sides · |S|²) of magnitudes, (frames, bins) → (frames, bins)"""
    energy: Tensor = np.square(middle)
    energy += np.float32(QUIET)
    return np.asarray(energy / (energy + sides * np.square(side)), np.float32)


def _heard_chunks(
    blocks: Iterator[Samples], first: int, gain: float, stages: Stages
) -> Iterator[tuple[Waves, slice, Tensor]]:
    for waves, keep in chunked(ending_mirrored(blocks) if first else centred(blocks), CONTEXT if first else 0):
        with stages.timing("spectra"):
            magnitude = magnitudes(waves, gain)
        yield waves, keep, magnitude


def chunked(blocks: Iterator[Samples], before: int) -> Generator[tuple[Waves, slice]]:
    """The waves of each chunk with up to CONTEXT frames before and after it, (2, samples), and which of
    their frames are the chunk's. The stream begins with `before` frames of context."""
    pending: list[Samples] = []
    waiting = 0
    for block in blocks:
        pending.append(block)
        waiting += len(block)
        while frames_in(waiting) >= before + CHUNK + CONTEXT:
            held = np.concatenate(pending)
            yield _waves(held, before + CHUNK + CONTEXT), slice(before, before + CHUNK)
            # A copy: a view would keep all that came before it alive.
            rest = held[(before + CHUNK - CONTEXT) * HOP :].copy()
            pending, waiting, before = [rest], len(rest), CONTEXT
    held = np.concatenate(pending) if pending else np.zeros((0, 2), np.float32)
    while (frames := frames_in(len(held))) > before:
        end = min(frames, before + CHUNK)
        yield _waves(held, min(frames, end + CONTEXT)), slice(before, end)
        held, before = held[max(0, end - CONTEXT) * HOP :], CONTEXT


def _waves(samples: Samples, frames: int) -> Waves:
    return np.ascontiguousarray(samples[: samples_of(frames)].T)


def magnitudes(waves: Waves, gain: float) -> Tensor:
    """Waves (2, samples_of(frames)) → what the network takes: |L|, |R|, |L+R|/2, |L-R|/2 times `gain`,
    (1, 4, frames rounded up to STEP, 1024). What is added at a song's end mirrors it: silence might be taken for
    music that stops."""
    frames = frames_in(waves.shape[1])
    result = np.empty((1, 4, -(-frames // STEP) * STEP, SEEN), np.float32)
    for start in range(0, frames, BLOCK):
        part = slice(start, min(frames, start + BLOCK))
        left, right = spectra(block_of(waves, part))[:, :, :SEEN] * np.float32(gain)
        sides = (left, right, (left + right) * np.float32(0.5), (left - right) * np.float32(0.5))
        for row, side in zip(result[0], sides, strict=True):
            np.abs(side, out=row[part])
    mirrored = np.pad(np.arange(frames), (0, result.shape[2] - frames), mode="symmetric")
    result[:, :, frames:] = result[:, :, mirrored[frames:]]
    return result


def apply_matrix(spectrum: Spectra, demix: Tensor, carry_on: bool) -> Spectra:
    """Vocals of a few frames: (2, frames, 2049) by (4, frames, 1024) → (2, frames, 2049)."""
    vocals: NDArray[np.complex64] = np.zeros_like(spectrum)
    low, high = spectrum[:, :, :SEEN], spectrum[:, :, SEEN:]
    carried = demix[:, :, CARRIED].mean(axis=2, keepdims=True)
    for output, (direct, across) in enumerate(((0, 1), (2, 3))):
        vocals[output, :, :SEEN] = demix[direct] * low[0] + demix[across] * low[1]
        if carry_on:
            vocals[output, :, SEEN:] = carried[direct] * high[0] + carried[across] * high[1]
    return vocals
