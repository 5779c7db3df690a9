"""How wrong a separation is. Spectra are complex (batch, 2, frames, 1024), over the RMS magnitude of the mix.

Three terms:
    magnitudes  mean square error of the square roots of magnitudes, of vocals and of accompaniment. The root lets
                quiet parts count; L1 on them collapsed to silence.
    error       log10 of the error's energy over the mix's: what SDR measures, clip by clip
    leakage     where one stem is silent for a third of a second while the mix sounds: log10 of what it has there
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

WINDOW = 16
"""Frames, 0.37 s."""
SILENT = 1e-4
"""A stem is silent in a window with less than so much of the mix's mean energy: 40 dB below it."""
SOUNDING = 1e-2
"""And the mix sounds in one with more than this: 20 dB below."""
INAUDIBLE = 1e-4
"""Leakage this far below the mix's mean energy is as good as none."""


@dataclass(frozen=True, slots=True)
class LossWeights:
    magnitudes: float = 2.5
    error: float = 1.0
    leakage: float = 0.15


def loss(
    matrix: Tensor, vocals: Tensor, accompaniment: Tensor, mix: Tensor, weights: LossWeights | None = None
) -> Tensor:
    """Of the matrices (batch, 4, frames, 1024) that a network gave for `mix`; float32."""
    weights = weights or LossWeights()
    heard = torch.view_as_real(mix)
    estimate = apply_pairs(matrix, heard)
    estimated, rest = estimate.square().sum(-1), (heard - estimate).square().sum(-1)
    error = (estimate - torch.view_as_real(vocals)).square().sum(-1).mean((1, 2, 3))
    with torch.no_grad():
        sung, played, mixed = power(vocals), power(accompaniment), power(mix)
    magnitudes = (root(estimated) - root(sung)).square().mean() + (root(rest) - root(played)).square().mean()
    wrong = torch.log10(error / (mixed.mean((1, 2, 3)) + 1e-9) + 1e-3).mean()
    leaked = leakage(estimated, sung, mixed) + leakage(rest, played, mixed)
    return weights.magnitudes * magnitudes + weights.error * wrong + weights.leakage * leaked


def apply(matrix: Tensor, mix: Tensor) -> Tensor:
    """Vocals of the mix by the matrix [LL LR; RL RR] of each bin."""
    return torch.view_as_complex(apply_pairs(matrix, torch.view_as_real(mix)))


def apply_pairs(matrix: Tensor, mix: Tensor) -> Tensor:
    """The same on pairs of real numbers, (batch, 2, frames, 1024, 2), which learn faster than complex ones."""
    left, right, gains = mix[:, 0], mix[:, 1], matrix[..., None]
    return torch.stack([gains[:, 0] * left + gains[:, 1] * right, gains[:, 2] * left + gains[:, 3] * right], 1)


def power(spectrum: Tensor) -> Tensor:
    """|X|²"""
    return torch.view_as_real(spectrum).square().sum(-1)


def root(powers: Tensor) -> Tensor:
    """√|X| of |X|², with a gradient that stays finite at 0."""
    return (powers + 1e-6).sqrt().sqrt()


def energy(spectrum: Tensor) -> Tensor:
    """Mean of |X|² of each example, (batch,)."""
    return power(spectrum).mean((1, 2, 3))


def windowed(powers: Tensor) -> Tensor:
    """Mean of |X|² over both channels, all bins and WINDOW frames, (batch, windows); a rest of frames is left out."""
    by_frame = powers.mean((1, 3))
    windows = by_frame.shape[1] // WINDOW
    return by_frame[:, : windows * WINDOW].reshape(len(by_frame), windows, WINDOW).mean(2)


def silent(truth: Tensor, mix: Tensor) -> Tensor:
    """Windows in which this stem is silent though the mix sounds, of powers, (batch, windows)."""
    reference = mix.mean((1, 2, 3))[:, None] + 1e-9
    return (windowed(truth) < SILENT * reference) & (windowed(mix) > SOUNDING * reference)


def leakage(estimate: Tensor, truth: Tensor, mix: Tensor) -> Tensor:
    """Of powers: 0 (none, or nowhere silent) to 4 (the whole mix)."""
    reference = mix.mean((1, 2, 3))[:, None] + 1e-9
    leaked, where = torch.log10(1 + windowed(estimate) / (reference * INAUDIBLE)), silent(truth, mix)
    # The few added windows keep a batch with hardly any silence from weighing as much as one full of it.
    return (leaked * where).sum() / (where.sum() + 8)


def sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    """dB of each example, (batch,)."""
    return 10 * torch.log10(energy(truth) / (energy(estimate - truth) + 1e-9) + 1e-9)
