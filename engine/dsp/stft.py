"""Short-time spectra of 4096 samples every 1024, in float32, 32 frames at a time.

A block of 32 frames keeps its temporaries (half a MB each) inside the processor's cache; a whole song's
frames at once are slower and need memory that grows with the song. Blocks are always cut at the same
places, whatever the sizes in which a song arrives: vectorised transforms round differently in groups of
other sizes, and the result must not depend on the reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from engine.audio import Samples

SIZE = 4096
HOP = 1024
BINS = SIZE // 2 + 1
BLOCK = 32
"""Frames transformed at once."""
OVERLAP_GAIN = 2 / 3
"""1 / Σ w² of the four squared Hann windows that fall on every sample."""

Spectra = NDArray[np.complex64]
"""Shape (channels, frames, 2049)."""
Waves = NDArray[np.float32]
"""Samples by channel, (channels, samples): what transforms read fastest."""


def hann(size: int = SIZE) -> NDArray[np.float32]:
    """The periodic Hann window, (size,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


_ANALYSIS = hann()
_SYNTHESIS = hann() * np.float32(OVERLAP_GAIN)


def samples_of(frames: int) -> int:
    """Samples from the start of the first of so many frames to the end of the last one."""
    return (frames - 1) * HOP + SIZE if frames else 0


def frames_in(samples: int) -> int:
    """Whole frames in so many samples."""
    return max(0, (samples - SIZE) // HOP + 1)


def spectra(waves: Waves) -> Spectra:
    """Windowed spectra of every whole frame, (channels, samples) → (channels, frames, 2049); frame k starts
    at sample k · HOP."""
    count = frames_in(waves.shape[1])
    result = np.empty((len(waves), count, BINS), np.complex64)
    if not count:
        return result
    for wave, spectrum in zip(waves, result, strict=True):
        frames = np.lib.stride_tricks.sliding_window_view(wave, SIZE)[::HOP]
        for start in range(0, count, BLOCK):
            part = slice(start, start + BLOCK)
            spectrum[part] = scipy.fft.rfft(frames[part] * _ANALYSIS, overwrite_x=True)
    return result


def magnitudes(waves: Waves, bins: int) -> NDArray[np.float32]:
    """|spectra| of the lowest `bins`, (channels, frames, bins), without holding the spectra of all frames."""
    count = frames_in(waves.shape[1])
    result = np.empty((len(waves), count, bins), np.float32)
    for start in range(0, count, BLOCK):
        part = slice(start, min(start + BLOCK, count))
        np.abs(spectra(block_of(waves, part))[:, :, :bins], out=result[:, part])
    return result


def block_of(waves: Waves, frames: slice) -> Waves:
    """The samples on which the frames `start` to `stop` lie."""
    return waves[:, frames.start * HOP : frames.start * HOP + samples_of(frames.stop - frames.start)]


def windowed_waves(block: Spectra) -> NDArray[np.float32]:
    """Spectra (channels, frames, 2049), which are overwritten → their waves, windowed and scaled for
    overlap-add, (channels, frames, 4096)."""
    waves: NDArray[np.float32] = scipy.fft.irfft(block, n=SIZE, overwrite_x=True)
    waves *= _SYNTHESIS
    return waves


def centred(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """The song with SIZE/2 samples mirrored at both ends (the end sample itself is not repeated), so that
    frame k of `spectra` has its middle on sample k · HOP: what `torch.stft(center=True)` does.

    Songs shorter than that are mirrored as often as it takes.
    """
    half = SIZE // 2
    recent: Samples | None = None
    started = False
    for block in blocks:
        if started and recent is not None:
            recent = np.concatenate([recent[-half - 1 :], block])
            yield block
            continue
        # Until there is enough to mirror, `recent` keeps everything.
        recent = block if recent is None else np.concatenate([recent, block])
        if len(recent) > half:
            started = True
            yield np.concatenate([recent[half:0:-1], recent])
    if started and recent is not None:
        yield recent[-2 : -half - 2 : -1]
    elif recent is not None and len(recent):
        yield np.pad(recent, ((half, half), (0, 0)), mode="reflect" if len(recent) > 1 else "edge")


def ending_mirrored(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """As `centred`, of a song that is entered after its start: only its end is mirrored."""
    half = SIZE // 2
    recent: Samples | None = None
    for block in blocks:
        recent = block if recent is None else np.concatenate([recent[-half - 1 :], block])
        yield block
    if recent is not None:
        yield recent[-2 : -half - 2 : -1]


def framed(blocks: Iterable[Samples], frames: int) -> Iterator[Waves]:
    """A stream of samples (frames, channels) → the waves under each group of `frames` frames, (channels,
    samples_of(frames)); the last group may have fewer. Groups overlap by SIZE - HOP samples."""
    whole, step = samples_of(frames), frames * HOP
    group: Waves | None = None
    filled = 0
    for block in blocks:
        if group is None:
            group = np.empty((block.shape[1], whole), np.float32)
        taken = 0
        while taken < len(block):
            count = min(whole - filled, len(block) - taken)
            group[:, filled : filled + count] = block[taken : taken + count].T
            filled, taken = filled + count, taken + count
            if filled == whole:
                yield group
                held, group = group[:, step:], np.empty_like(group)
                group[:, : whole - step] = held
                filled = whole - step
    if group is not None and filled >= SIZE:
        yield group[:, : samples_of(frames_in(filled))]
