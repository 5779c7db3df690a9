"""Short-time spectra of 4096 samples every 1024, in float32, a few frames at a time.

Blocks of 64 frames keep the temporaries (1 MB a channel) inside the processor's cache; computing a whole
song's frames at once is slower and needs memory that grows with the song.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples

SIZE = 4096
HOP = 1024
BINS = SIZE // 2 + 1
BLOCK = 64
"""Frames transformed at once."""

Spectra = NDArray[np.complex64]
"""Shape (channels, frames, 2049)."""


def hann(size: int = SIZE) -> NDArray[np.float32]:
    """The periodic Hann window, (size,)."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


_HANN = hann()


def spectra(samples: Samples) -> Spectra:
    """Windowed spectra of every full frame in `samples` (frames, channels); frame k starts at k · HOP.

    (frames, channels) → (channels, (frames - SIZE) // HOP + 1, 2049), none when shorter than SIZE.
    """
    waves = np.ascontiguousarray(samples.T)
    count = max(0, (waves.shape[1] - SIZE) // HOP + 1)
    result = np.empty((len(waves), count, BINS), np.complex64)
    for wave, spectrum in zip(waves, result, strict=True):
        if not count:
            break
        frames = np.lib.stride_tricks.sliding_window_view(wave, SIZE)[::HOP]
        for start in range(0, count, BLOCK):
            np.fft.rfft(frames[start : start + BLOCK] * _HANN, out=spectrum[start : start + BLOCK])
    return result


def windowed_waves(block: Spectra) -> NDArray[np.float32]:
    """Spectra (channels, frames, 2049) → their waves, windowed again for overlap-add, (channels, frames, 4096)."""
    waves = np.fft.irfft(block, n=SIZE)
    waves *= _HANN
    return waves.astype(np.float32, copy=False)


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


def frame_segments(blocks: Iterable[Samples]) -> Iterator[Spectra]:
    """Spectra of a stream, in order and each frame once, (channels, a multiple of BLOCK, 2049) and a rest.

    Frames are always transformed in the same groups of BLOCK, whatever the sizes of the blocks: vectorised
    transforms round differently in groups of other sizes, and the result must not depend on the reader.
    """
    pending: list[Samples] = []
    waiting = 0
    for block in blocks:
        pending.append(block)
        waiting += len(block)
        groups = ((waiting - SIZE) // HOP + 1) // BLOCK
        if groups < 1:
            continue
        joined = np.concatenate(pending)
        yield spectra(joined[: (groups * BLOCK - 1) * HOP + SIZE])
        rest = joined[groups * BLOCK * HOP :]
        pending, waiting = [rest], len(rest)
    if waiting >= SIZE:
        yield spectra(np.concatenate(pending))
