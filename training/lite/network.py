"""The network of `lite`: magnitudes of a stereo song in, one 2×2 demixing matrix per bin and frame out.

Layout everywhere: (batch, channels, frames, bins), bins from 0 Hz up, so that spectra computed frame by
frame need no transposing. The time axis must be a multiple of 8 (three of the four levels halve it).

Written for inference: batch norms are already folded into the convolutions that precede them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BINS = 1024
"""Bins of a 4096-point spectrum at 44.1 kHz that the network sees: 0 Hz to 11 kHz."""
FOLD = 4
"""Neighbouring bins that become channels, so that the convolutions run on 256 positions, not 1024."""
WIDTHS = (24, 40, 64, 96, 112)
HIDDEN = 192
STRIDES = ((2, 2), (2, 2), (2, 2), (1, 2))
"""Per level, over (frames, bins)."""
MASK_EXPONENT = 0.8
"""Below 1 the masks open a little: fewer holes in the voice for a little more of the band. Chosen by ear
and by SDR on held-out songs; see the model card."""


class ConvRelu(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int] = (1, 1)) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.ReLU())


class UpRelu(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__(nn.ConvTranspose2d(inputs, outputs, stride, stride=stride), nn.ReLU())


class Recurrent(nn.Module):
    """Two bidirectional GRUs over time on the bottleneck, each added to what it was given."""

    def __init__(self, channels: int, positions: int, hidden: int) -> None:
        super().__init__()
        self.shrink = nn.Linear(channels * positions, hidden)
        self.first = nn.GRU(hidden, hidden // 2, bidirectional=True)
        self.second = nn.GRU(hidden, hidden // 2, bidirectional=True)
        self.grow = nn.Linear(hidden, channels * positions)
        self.channels, self.positions = channels, positions

    def forward(self, x: Tensor) -> Tensor:
        # GRUs take (time, batch, features); the batch of one is what is squeezed away here.
        z = x[0].permute(1, 0, 2).reshape(-1, 1, self.channels * self.positions)
        z = torch.relu(self.shrink(z))
        z = z + self.first(z)[0]
        z = z + self.second(z)[0]
        z = self.grow(z).reshape(-1, self.channels, self.positions)
        return x + z.permute(1, 0, 2)[None]


class LiteNetwork(nn.Module):
    """Batch 1. `forward` takes |L|, |R|, |L+R|/2, |L-R|/2 over the song's RMS magnitude,
    (1, 4, frames, 1024), and gives the matrix entries LL, LR, RL, RR, (1, 4, frames, 1024):

        vocals_left = LL·L + LR·R        vocals_right = RL·L + RR·R
    """

    coordinates: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4, BINS))
        self.bias = nn.Parameter(torch.zeros(4, BINS))
        self.enter = nn.Sequential(ConvRelu(4 * FOLD + 2, WIDTHS[0]), ConvRelu(WIDTHS[0], WIDTHS[0]))
        self.down = nn.ModuleList()
        self.encode = nn.ModuleList()
        self.up = nn.ModuleList()
        self.decode = nn.ModuleList()
        for level, stride in enumerate(STRIDES):
            above, below = WIDTHS[level], WIDTHS[level + 1]
            self.down.append(ConvRelu(above, below, stride))
            self.encode.append(ConvRelu(below, below))
            self.up.append(UpRelu(below, above, stride))
            second = [ConvRelu(above, above)] if level > 0 else []
            self.decode.append(nn.Sequential(ConvRelu(2 * above, above), *second))
        self.recurrent = Recurrent(WIDTHS[-1], BINS // FOLD // 16, HIDDEN)
        self.settle = ConvRelu(WIDTHS[-1], WIDTHS[-1])
        self.leave = nn.Conv2d(WIDTHS[0], 4 * FOLD, 3, padding=1)
        # Convolutions can't tell high from low: two channels say where on the frequency axis they are.
        place = torch.linspace(-1, 1, BINS // FOLD)
        coordinates = torch.stack([place, torch.exp(-3 * (place + 1)) * 2 - 1])
        self.register_buffer("coordinates", coordinates[None, :, None, :], persistent=False)

    def forward(self, magnitudes: Tensor) -> Tensor:
        z = (torch.log(magnitudes + 1e-3) + 3.0) * 0.4
        z = z * self.scale[None, :, None, :] + self.bias[None, :, None, :]
        z = fold(z)
        x = self.enter(torch.cat([z, self.coordinates.expand(1, 2, z.shape[2], BINS // FOLD)], 1))
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(x)
            x = encode(down(x))
        x = self.settle(self.recurrent(x))
        for up, decode, skip in zip(self.up[::-1], self.decode[::-1], skips[::-1], strict=True):
            x = decode(torch.cat([up(x), skip], 1))
        return open_masks(unfold(self.leave(x)))


def fold(z: Tensor) -> Tensor:
    """(1, 4, frames, 1024) → (1, 4·FOLD, frames, 1024/FOLD)"""
    z = z.reshape(4, -1, BINS // FOLD, FOLD)
    return z.permute(0, 3, 1, 2).reshape(1, 4 * FOLD, -1, BINS // FOLD)


def unfold(y: Tensor) -> Tensor:
    """(1, 4·FOLD, frames, 1024/FOLD) → (1, 4, frames, 1024)"""
    y = y.reshape(4, FOLD, -1, BINS // FOLD)
    return y.permute(0, 2, 3, 1).reshape(1, 4, -1, BINS)


def open_masks(y: Tensor) -> Tensor:
    """Raw outputs → matrix entries: masks on the diagonal, crosstalk beside them, and each row scaled so
    that its mask m becomes m^MASK_EXPONENT."""
    mask = torch.sigmoid(y[:, 0::3] - 1)
    crosstalk = torch.tanh(y[:, 1:3] * 0.5)
    gain = torch.exp((MASK_EXPONENT - 1) * torch.log(mask.clamp(min=1e-6)))
    direct, across = mask * gain, crosstalk * gain
    return torch.stack([direct[:, 0], across[:, 0], across[:, 1], direct[:, 1]], 1)
