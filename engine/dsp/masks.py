"""Soft masks: what share of every point of the mix's spectrum belongs to which stem."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.dsp.stft import Spectra

EPSILON = 1e-10

Magnitudes = NDArray[np.float32]
"""Shape (channels, frames, bins), where bins are the lowest of a spectrum's 2049."""


def last_mask(others: Sequence[Magnitudes]) -> Magnitudes:
    """The mask of the last of n stems, of all others': the masks (o_k² + ε/n) / (Σ o² + ε) sum to one.

    The formula is that of spleeter/model/__init__.py (`_build_masks`, separation_exponent 2, ε = 1e-10);
    `engine.spleeter_graph` has it as the graphs' last nodes.
    """
    rest = np.subtract(np.float32(1), others[0])
    for mask in others[1:]:
        rest -= mask
    return rest


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
