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
    leakage: float = 0.1


def loss(
    matrix: Tensor, vocals: Tensor, accompaniment: Tensor, mix: Tensor, weights: LossWeights | None = None
) -> Tensor:
    """Of the matrices (batch, 4, frames, 1024) that a network gave for `mix`; float32."""
    weights = weights or LossWeights()
    # On a CPU one example after the other: its arrays stay in the cache.
    size = 1 if matrix.device.type == "cpu" else len(matrix)
    groups = zip(*(each.split(size) for each in (matrix, vocals, accompaniment, mix)), strict=True)
    parts = [_group(*group) for group in groups]
    magnitudes, wrong, *leaked = (torch.stack(values) for values in zip(*parts, strict=True))
    total = weights.magnitudes * magnitudes.mean() + weights.error * wrong.mean()
    for sums, windows in (leaked[:2], leaked[2:]):
        total = total + weights.leakage * _a_window(sums.sum(), windows.sum())
    return total


def _group(matrix: Tensor, vocals: Tensor, accompaniment: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
    """Both means of some examples, and the leakage of both stems: sums, and numbers of windows."""
    heard = planes(mix)
    real, imaginary = _estimate(matrix, heard)
    with torch.no_grad():
        sung, played, mixed = power(vocals), power(accompaniment), power(mix)
        true_real, true_imaginary = planes(vocals)
        # Real numbers only and no powers of two by `pow`: several times faster than complex ones, forward and back.
    estimated = real * real + imaginary * imaginary
    left_real, left_imaginary = heard[0] - real, heard[1] - imaginary
    rest = left_real * left_real + left_imaginary * left_imaginary
    off_real, off_imaginary = real - true_real, imaginary - true_imaginary
    error = (off_real * off_real + off_imaginary * off_imaginary).mean((1, 2, 3))
    off_voice, off_rest = root(estimated) - root(sung), root(rest) - root(played)
    magnitudes = (off_voice * off_voice + off_rest * off_rest).mean()
    wrong = torch.log10(error / (mixed.mean((1, 2, 3)) + 1e-9) + 1e-3).mean()
    return magnitudes, wrong, *_leaked(estimated, sung, mixed), *_leaked(rest, played, mixed)


def planes(spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Real and imaginary parts, each in one piece."""
    return spectrum.real.contiguous(), spectrum.imag.contiguous()


def apply(matrix: Tensor, mix: Tensor) -> Tensor:
    """Vocals of the mix by the matrix [LL LR; RL RR] of each bin."""
    return torch.complex(*_estimate(matrix, planes(mix)))


def _estimate(matrix: Tensor, mix: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Real and imaginary part of the vocals."""
    direct, across = matrix[:, 0::3], matrix[:, 1:3]
    real, imaginary = (direct * part + across * part.flip(1) for part in mix)
    return real, imaginary


def power(spectrum: Tensor) -> Tensor:
    """|X|²"""
    real, imaginary = planes(spectrum)
    return real * real + imaginary * imaginary


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
    return _a_window(*_leaked(estimate, truth, mix))


def _leaked(estimate: Tensor, truth: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
    """Summed over the windows in which this stem is silent, and their number."""
    reference = mix.mean((1, 2, 3))[:, None] + 1e-9
    leaked, where = torch.log10(1 + windowed(estimate) / (reference * INAUDIBLE)), silent(truth, mix)
    return (leaked * where).sum(), where.sum()


def _a_window(leaked: Tensor, windows: Tensor) -> Tensor:
    # The few added windows keep a batch with hardly any silence from weighing as much as one full of it.
    return leaked / (windows + 8)


def sdr(estimate: Tensor, truth: Tensor) -> Tensor:
    """dB of each example, (batch,)."""
    return 10 * torch.log10(energy(truth) / (energy(estimate - truth) + 1e-9) + 1e-9)
