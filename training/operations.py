"""What a network costs: multiply-adds a second of audio, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.configuration import BINS, NetworkConfig
from training.network import LiteNetwork, parameters

FRAMES_A_SECOND = 44100 / 1024
FRAMES = 128


@dataclass(frozen=True, slots=True)
class Layer:
    name: str
    parameters: int
    operations: float
    """Multiply-adds a second of audio."""


def layers(config: NetworkConfig) -> list[Layer]:
    """Convolutions, GRUs and matrices; what is done value by value costs memory, not these."""
    network, counted, hooks = LiteNetwork(config).eval(), list[Layer](), []

    def counting(name: str, module: nn.Module) -> None:
        def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor | tuple[Tensor, ...]) -> None:
            operations = _operations(module, inputs[0], output[0] if isinstance(output, tuple) else output)
            counted.append(Layer(name, parameters(module), operations / FRAMES * FRAMES_A_SECOND))

        hooks.append(module.register_forward_hook(count))

    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.GRU | nn.Linear):
            counting(name, module)
    with torch.inference_mode():
        network(torch.rand(1, 4, FRAMES, BINS))
    for hook in hooks:
        hook.remove()
    return counted


def _operations(module: nn.Module, given: Tensor, output: Tensor) -> float:
    """Multiply-adds of one call with a batch of one."""
    match module:
        case nn.ConvTranspose2d():
            return float(given[0, 0].numel() * module.weight.numel())
        case nn.Conv2d():
            return float(output[0, 0].numel() * module.weight.numel())
        case nn.GRU():
            return float(
                given.shape[0]
                * given.shape[1]
                * sum(weight.numel() for weight in module.parameters() if weight.ndim == 2)
            )
    return float(output.numel() // output.shape[-1] * parameters(module))


def table(config: NetworkConfig) -> str:
    rows = layers(config)
    lines = ["| layer | parameters | million multiply-adds a second |", "|---|---:|---:|"]
    lines += [f"| {row.name} | {row.parameters:,} | {row.operations / 1e6:.1f} |" for row in rows]
    total = sum(row.operations for row in rows) / 1e6
    lines.append(f"| all | {parameters(LiteNetwork(config)):,} | {total:.1f} |")
    return "\n".join(lines)
