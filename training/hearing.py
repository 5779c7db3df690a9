"""Batches of waves → spectra as the network hears them, on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from training.mixing import BINS, HOP, SIZE, Batch


@dataclass(frozen=True, slots=True)
class Heard:
    """Complex spectra (batch, 2, frames, 1024) over the mix's RMS magnitude, and the network's input, float32
    (batch, 4, frames, 1024), at the level that the example asked for."""

    vocals: Tensor
    accompaniment: Tensor
    mix: Tensor
    magnitudes: Tensor


def hear(batch: Batch, device: torch.device) -> Heard:
    with torch.no_grad():

        def moved(values: object) -> Tensor:
            return torch.as_tensor(values).to(device, non_blocking=True)

        vocals = spectra(moved(batch.voice)) * moved(batch.voice_gains)[:, None, None, :]
        accompaniment = spectra(moved(batch.band)) * moved(batch.band_gains)[:, None, None, :]
        mix = vocals + accompaniment
        gain = 1 / (mix.abs().square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-6)
        vocals, accompaniment, mix = vocals * gain, accompaniment * gain, mix * gain
        return Heard(vocals, accompaniment, mix, magnitudes(mix) * moved(batch.level)[:, None, None, None])


def spectra(waves: Tensor) -> Tensor:
    """(batch, 2, samples) → (batch, 2, frames, 1024), frame k with its middle on sample k · HOP."""
    window = torch.hann_window(SIZE, device=waves.device)
    flat = waves.reshape(-1, waves.shape[-1])
    transformed = torch.stft(flat, SIZE, HOP, window=window, center=True, return_complex=True)
    return transformed[:, :BINS].transpose(1, 2).reshape(*waves.shape[:2], -1, BINS)


def magnitudes(mix: Tensor) -> Tensor:
    """|L|, |R|, |L+R|/2, |L-R|/2."""
    left, right = mix[:, 0], mix[:, 1]
    return torch.stack([left, right, (left + right) * 0.5, (left - right) * 0.5], 1).abs()
