"""Soft masks: what share of every point of the mix's spectrum belongs to which stem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.dsp.stft import Spectra

EPSILON = 1e-10

Magnitudes = NDArray[np.float32]
"""Shape (channels, frames, bins), where bins are the lowest of a spectrum's 2049."""


def ratio_masks(estimates: Sequence[Magnitudes]) -> list[Magnitudes]:
    """Mask of stem k out of n: (o_k² + ε/n) / (Σ o² + ε), ε = 1e-10; the masks sum to one.

    The formula of spleeter/model/__init__.py (`_build_masks`, separation_exponent 2), in float32 as there:
    where all estimates are silent every stem gets 1/n. Spleeter's graphs hold it as their last nodes
    (`engine.spleeter_graph`); this is the same for arrays.
    """
    powers = [np.square(estimate) for estimate in estimates]
    total = powers[0].copy()
    for power in powers[1:]:
        total += power
    total += np.float32(EPSILON)
    for power in powers:
        power += np.float32(EPSILON / len(powers))
        power /= total
    return powers


def apply_mask(spectrum: Spectra, mask: Magnitudes, *, extend: bool) -> Spectra:
    """Spectrum (channels, frames, 2049) times mask (channels, frames, bins).

    Bins that the mask doesn't reach get nothing, or with `extend` the mean of the frame's mask: Spleeter's
    `mask_extension` zeros and average.
    """
    bins = mask.shape[2]
    masked = np.empty_like(spectrum)
    np.multiply(spectrum[:, :, :bins], mask, out=masked[:, :, :bins])
    if extend:
        mean = mask.mean(axis=2, keepdims=True)
        np.multiply(spectrum[:, :, bins:], mean, out=masked[:, :, bins:])
    else:
        masked[:, :, bins:] = 0
    return masked
