"""The network of `lite`: magnitudes of a stereo song in, one 2×2 demixing matrix per bin and frame out.

A U-Net on spectra that are folded into few places with many channels, with two bidirectional GRUs over time in its
middle. Layout everywhere: (batch, channels, frames, bins), bins from 0 Hz up, so that spectra computed frame by frame
need no transposing.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from training.configuration import BINS, NetworkConfig


class Block(nn.Module):
    """Convolution, batch norm, ReLU; `residual` adds what was given before the ReLU, where runtimes fuse it."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: tuple[int, int] = (1, 1), residual: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.residual = residual and inputs == outputs and stride == (1, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        return torch.relu(y + x if self.residual else y)


class Up(nn.Module):
    """To the next level's resolution, where each place becomes a `stride` of places, and what was there added."""

    def __init__(self, inputs: int, outputs: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(inputs, outputs, stride, stride=stride, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, skip: Tensor | None) -> Tensor:
        y = self.norm(self.conv(x))
        return torch.relu(y if skip is None else y + skip)


class Recurrent(nn.Module):
    """Two bidirectional GRUs over time on the middle, each added to what it was given."""

    def __init__(self, channels: int, positions: int, squeeze: int, hidden: int, memory: int) -> None:
        super().__init__()
        self.channels, self.positions, self.memory = squeeze or channels, positions, memory
        self.narrow = Block(channels, squeeze, 1) if squeeze else nn.Identity()
        self.widen = nn.Conv2d(squeeze, channels, 1) if squeeze else nn.Identity()
        features = self.channels * positions
        self.shrink = nn.Linear(features, hidden)
        self.first = nn.GRU(hidden, hidden // 2, bidirectional=True)
        self.second = nn.GRU(hidden, hidden // 2, bidirectional=True)
        self.grow = nn.Linear(hidden, features)

    def forward(self, x: Tensor) -> Tensor:
        # GRUs take (time, batch, features).
        batch = batch_of(x)
        z = self.narrow(x).permute(2, 0, 1, 3).reshape(-1, batch, self.channels * self.positions)
        z = torch.relu(self.shrink(z))
        if self.memory:
            z = windows(z, self.memory)
        z = z + self.first(z)[0]
        z = z + self.second(z)[0]
        if self.memory:
            z = middles(z, self.memory, batch)
        z = self.grow(z).reshape(-1, batch, self.channels, self.positions)
        return x + self.widen(z.permute(1, 2, 0, 3))


def windows(z: Tensor, length: int) -> Tensor:
    """(steps, batch, features) → (3·length, steps/length·batch, features): each `length` steps with as many before and
    after; zeros beyond the ends."""
    blocks = z.reshape(-1, length, *z.shape[1:])
    nothing = torch.zeros_like(blocks[:1])
    before, after = torch.cat([nothing, blocks[:-1]]), torch.cat([blocks[1:], nothing])
    return torch.cat([before, blocks, after], 1).transpose(0, 1).reshape(3 * length, -1, z.shape[2])


def middles(z: Tensor, length: int, batch: int) -> Tensor:
    """Of the windows the steps in their middle, one after the other: (steps, batch, features)"""
    return z[length : 2 * length].reshape(length, -1, batch, z.shape[2]).transpose(0, 1).reshape(-1, batch, z.shape[2])


class LiteNetwork(nn.Module):
    """`forward` takes |L|, |R|, |L+R|/2, |L-R|/2 over the song's RMS magnitude, (batch, 4, frames, 1024), frames a
    multiple of `config.frames_step`, and gives the matrix entries LL, LR, RL, RR, (batch, 4, frames, 1024):

        vocals_left = LL·L + LR·R        vocals_right = RL·L + RR·R
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.exponent, self.shift = 1.0, 0.0
        """The shipped graph's are the configuration's; while it learns, masks are what they are."""
        widths, cells = config.widths, config.fold[0] * config.fold[1]
        self.see: nn.Module = Logarithms(config) if config.features == "logarithms" else Roots(config)
        inputs = self.see.channels
        self.enter = nn.Sequential()
        for number, kernel in enumerate(config.enter):
            self.enter.append(Block(widths[0] if number else inputs, widths[0], kernel, residual=config.residual))
        self.down, self.encode, self.up, self.decode = (nn.ModuleList() for _ in range(4))
        for above, below, stride, count in zip(widths, widths[1:], config.strides, config.decode, strict=False):
            self.down.append(Block(above, below, stride=stride))
            self.encode.append(Block(below, below, residual=config.residual))
            self.up.append(Up(below, above, stride))
            first = 2 * above if config.skips == "concatenate" else above
            blocks = [Block(above if number else first, above, residual=config.residual) for number in range(count)]
            self.decode.append(nn.Sequential(*blocks))
        self.recurrent = Recurrent(widths[-1], config.positions, config.squeeze, config.hidden, config.memory)
        self.settle = Block(widths[-1], widths[-1], residual=config.residual)
        self.leave = nn.Conv2d(widths[0], 4 * cells, config.leave, padding=config.leave // 2)
        self.direct = nn.Conv2d(inputs, 4 * cells, 1, bias=False) if config.direct else None
        # One sigmoid makes all four: masks are s(y - 1), crosstalk is 2·s(y) - 1 = tanh(y / 2).
        crossed = torch.tensor((0.0, 1.0, 1.0, 0.0))[None, :, None, None]
        self.register_buffer("crossed", crossed, persistent=False)

    def forward(self, magnitudes: Tensor) -> Tensor:
        seen = self.see(magnitudes)
        x = self.enter(seen)
        skips = []
        for down, encode in zip(self.down, self.encode, strict=True):
            skips.append(x)
            x = encode(down(x))
        x = self.settle(self.recurrent(x))
        for up, decode, skip in zip(self.up[::-1], self.decode[::-1], skips[::-1], strict=True):
            added = self.config.skips == "add"
            x = decode(up(x, skip) if added else torch.cat([up(x, None), skip], 1))
        raw = self.leave(x) if self.direct is None else self.leave(x) + self.direct(seen)
        crossed = self.crossed
        # In half precision small masks would be steps.
        raw = unfold(raw, self.config.fold).float()
        return self.opened(torch.sigmoid(raw + (crossed - 1) * (1 - self.shift)) * (1 + crossed) - crossed)

    def opened(self, matrix: Tensor) -> Tensor:
        """Each row scaled so that its mask m becomes m^exponent."""
        if self.exponent == 1:
            return matrix
        gain = torch.exp((self.exponent - 1) * torch.log(matrix[:, 0::3].clamp(min=1e-6)))
        return matrix * torch.stack([gain[:, 0], gain[:, 0], gain[:, 1], gain[:, 1]], 1)


class Logarithms(nn.Module):
    """The study's features, and two channels that say where on the frequency axis they are, which convolutions can't
    tell."""

    coordinates: Tensor

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.fold, self.channels = config.fold, 4 * config.fold[0] * config.fold[1] + 2
        self.scale = nn.Parameter(torch.ones(4, BINS))
        self.bias = nn.Parameter(torch.zeros(4, BINS))
        place = torch.linspace(-1, 1, BINS // config.fold[1])
        coordinates = torch.stack([place, torch.exp(-3 * (place + 1)) * 2 - 1])
        self.register_buffer("coordinates", coordinates[None, :, None, :], persistent=False)

    def forward(self, magnitudes: Tensor) -> Tensor:
        z = (torch.log(magnitudes + 1e-3) + 3.0) * 0.4
        z = fold(z * self.scale[None, :, None, :] + self.bias[None, :, None, :], self.fold)
        where = self.coordinates.expand(batch_of(z), 2, z.shape[2], self.coordinates.shape[3])
        return torch.cat([z, where], 1).contiguous(memory_format=torch.channels_last)


class Roots(nn.Module):
    """Fourth roots, which runtimes compute many times faster than logarithms and which press 60 dB into a range of
    30; the likeness; and a learnt offset for each of them in each bin, since convolutions can't tell high from low."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.fold, self.channels = config.fold, 4 * config.fold[0] * config.fold[1]
        self.place = nn.Parameter(torch.zeros(1, 4, 1, BINS))

    def forward(self, magnitudes: Tensor) -> Tensor:
        left, right, middle, side = magnitudes.split(1, 1)
        roots = [torch.sqrt(torch.sqrt(each + 1e-6)) for each in (left, right, middle)]
        return fold(torch.cat([*roots, likeness(middle, side)], 1) + self.place, self.fold)


def batch_of(x: Tensor) -> int:
    """One in the shipped graph, whose shapes then stay simple."""
    return 1 if torch.onnx.is_in_onnx_export() else int(x.shape[0])


def likeness(middle: Tensor, side: Tensor) -> Tensor:
    """How alike left and right are in each bin, from -1 (opposite signs) over 0 (nothing in common) to 1 (the same):
    2·Re(L·R*) / (|L|² + |R|²), the similarity of C. Avendano, "Frequency-domain source identification and manipulation
    in stereo mixes", WASPAA 2003, with its sign. By |M| = |L+R|/2 and |S| = |L-R|/2 that is
    (|M|² - |S|²) / (|M|² + |S|²). What is mixed to the centre, as singers are, has 1."""
    middle, side = middle * middle, side * side
    return (middle - side) / (middle + side + 1e-6)


def fold(z: Tensor, by: tuple[int, int]) -> Tensor:
    """(batch, channels, frames, bins) → (batch, channels·a·b, frames/a, bins/b)

    By way of channels last, which is how convolutions want it: only runs of b values move.
    """
    batch, channels, (frames, bins) = batch_of(z), z.shape[1], by
    z = z.reshape(batch, channels, -1, frames, BINS // bins, bins).permute(0, 2, 4, 1, 3, 5)
    return z.reshape(batch, -1, BINS // bins, channels * frames * bins).permute(0, 3, 1, 2)


def unfold(y: Tensor, by: tuple[int, int]) -> Tensor:
    """(batch, 4·a·b, frames/a, bins/b) → (batch, 4, frames, bins), by way of channels last too."""
    batch, (frames, bins) = batch_of(y), by
    y = y.permute(0, 2, 3, 1).reshape(batch, -1, BINS // bins, 4, frames, bins)
    return y.permute(0, 3, 1, 4, 2, 5).reshape(batch, 4, -1, BINS)


def folded(network: LiteNetwork) -> LiteNetwork:
    """A copy for inference: batch norms become part of the convolutions in front of them."""
    network = copy.deepcopy(network).eval()
    for module in list(network.modules()):
        if isinstance(module, Block | Up) and not isinstance(module.norm, nn.Identity):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm, transpose=isinstance(module, Up))
            module.norm = nn.Identity()
    return network


def unfolded(shipped: LiteNetwork, magnitudes: Tensor) -> LiteNetwork:
    """A copy of a folded network that can learn on: behind its convolutions are batch norms again, which change nothing
    as long as their inputs are spread as those of `magnitudes`, (batch, 4, frames, 1024), are."""
    network, spread, hooks = LiteNetwork(shipped.config), dict[str, tuple[Tensor, Tensor]](), []

    def measuring(name: str, conv: nn.Module) -> None:
        def measure(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            spread[name] = output.mean((0, 2, 3)), output.var((0, 2, 3), correction=0)

        hooks.append(conv.register_forward_hook(measure))

    blocks = {name: module for name, module in shipped.named_modules() if isinstance(module, Block | Up)}
    for name, block in blocks.items():
        measuring(name, block.conv)
    with torch.no_grad():
        shipped(magnitudes)
    for hook in hooks:
        hook.remove()
    known = shipped.state_dict()
    weights = {name: values for name, values in known.items() if not name.endswith(".conv.bias")}
    for name, (mean, variance) in spread.items():
        norm = network.get_submodule(f"{name}.norm")
        assert isinstance(norm, nn.BatchNorm2d)
        weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"] = (variance + norm.eps).sqrt(), mean
        weights[f"{name}.norm.running_mean"] = mean - known[f"{name}.conv.bias"]
        weights[f"{name}.norm.running_var"] = variance
        weights[f"{name}.norm.num_batches_tracked"] = norm.num_batches_tracked
    network.load_state_dict(weights)
    return network


def blank(config: NetworkConfig) -> LiteNetwork:
    """As `folded` leaves it, to be filled with folded weights."""
    return folded(LiteNetwork(config))


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
