"""Ways to separate without weights, to be measured beside `lite`. All take a mixture (frames, 2) at 44.1 kHz and give
vocals of the same shape; the accompaniment is what is left.

    centre mask    a bin is vocals by (1 - |L-R| / |L+R|)²: of five such rules the best on most of our clips
    REPET-SIM      what comes back is accompaniment (Z. Rafii, B. Pardo: "Music/voice separation using the similarity
                   matrix", ISMIR 2012): each frame against the median of those most like it
    REPET × centre both masks multiplied
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from engine.audio import Samples

RATE, SIZE, HOP = 44100, 4096, 1024
LOWEST_VOICE_HERTZ = 100.0
"""Below it all is accompaniment."""
ALIKE = 100
"""REPET-SIM: at most so many frames stand for one."""
APART = 43
"""Frames (1 s) that two of them are apart at least."""
NEAREST = 0.0
"""Cosine that they have at least."""
Spectra = NDArray[np.complex128]
"""(2, frames, 2049)"""


def centre(mixture: Samples) -> Samples:
    spectrum = spectra(mixture)
    return waves(spectrum * centre_mask(spectrum), len(mixture))


def repet_sim(mixture: Samples) -> Samples:
    spectrum = spectra(mixture)
    return waves(spectrum * repet_mask(spectrum), len(mixture))


def repet_centre(mixture: Samples) -> Samples:
    spectrum = spectra(mixture)
    return waves(spectrum * centre_mask(spectrum) * repet_mask(spectrum), len(mixture))


CENTRE = "centre mask"
METHODS: Mapping[str, Callable[[Samples], Samples]] = {
    CENTRE: centre,
    "REPET-SIM": repet_sim,
    "REPET × centre": repet_centre,
}


def centre_mask(spectrum: Spectra) -> NDArray[np.float64]:
    """(1, frames, bins)"""
    middle, side = np.abs(spectrum[0] + spectrum[1]), np.abs(spectrum[0] - spectrum[1])
    return np.asarray((np.clip(1 - side / (middle + 1e-12), 0, 1) ** 2 * _voiced())[None], np.float64)


def repet_mask(spectrum: Spectra) -> NDArray[np.float64]:
    """(2, frames, bins)"""
    heard = np.abs(spectrum)
    together = heard.mean(0)
    unit = together / (np.linalg.norm(together, axis=1, keepdims=True) + 1e-12)
    similarity = unit @ unit.T
    repeated = np.empty_like(heard)
    for frame in range(len(similarity)):
        repeated[:, frame] = np.median(heard[:, _most_alike(similarity[frame])], axis=1)
    repeated = np.minimum(repeated, heard)
    return np.asarray((1 - repeated / (heard + 1e-12)) * _voiced(), np.float64)


def _most_alike(similarity: NDArray[np.float64]) -> list[int]:
    """The frames most like this one, itself first, each at least APART from the others."""
    left = similarity.copy()
    chosen: list[int] = []
    while len(chosen) < ALIKE:
        best = int(np.argmax(left))
        if left[best] <= NEAREST:
            break
        chosen.append(best)
        left[max(0, best - APART) : best + APART + 1] = -1
    return chosen or [int(np.argmax(similarity))]


def _voiced() -> NDArray[np.float64]:
    return (np.arange(SIZE // 2 + 1) * RATE / SIZE >= LOWEST_VOICE_HERTZ).astype(np.float64)


def spectra(samples: Samples) -> Spectra:
    """Periodic Hann, the song between SIZE zeros before and as many after."""
    padded = np.pad(samples.T.astype(np.float64), ((0, 0), (SIZE, SIZE + -len(samples) % HOP)))
    frames = np.lib.stride_tricks.sliding_window_view(padded, SIZE, axis=1)[:, ::HOP]
    return np.fft.rfft(frames * _window(), axis=2)


def waves(spectrum: Spectra, frames: int) -> Samples:
    """The inverse of `spectra`: the squared window at a quarter's hop sums to 3/2."""
    pieces = np.fft.irfft(spectrum, n=SIZE, axis=2) * _window() * (2 / 3)
    whole = np.zeros((2, (pieces.shape[1] - 1) * HOP + SIZE))
    for index in range(pieces.shape[1]):
        whole[:, index * HOP : index * HOP + SIZE] += pieces[:, index]
    return np.ascontiguousarray(whole[:, SIZE : SIZE + frames].T, np.float32)


def _window() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(SIZE) / SIZE)
