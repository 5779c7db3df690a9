"""What is kept of a training run, and networks out of it; also out of graphs, and of the study's own file."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from training.configuration import STUDY, NetworkConfig
from training.network import LiteNetwork, blank, folded

STUDY_NAMES = (
    (r"^(scale|bias)$", r"see.\1"),
    (r"^e0\.(\d)\.0\.", r"enter.\1.conv."),
    (r"^down\.(\d)\.0\.", r"down.\1.conv."),
    (r"^enc\.(\d)\.0\.", r"encode.\1.conv."),
    (r"^up\.(\d)\.0\.", r"up.\1.conv."),
    (r"^dec\.0\.0\.", r"decode.0.0.conv."),
    (r"^dec\.(\d)\.(\d)\.0\.", r"decode.\1.\2.conv."),
    (r"^mid\.i\.", "recurrent.shrink."),
    (r"^mid\.g\.", "recurrent.first."),
    (r"^mid\.g2\.", "recurrent.second."),
    (r"^mid\.o\.", "recurrent.grow."),
    (r"^post\.0\.", "settle.conv."),
    (r"^fin\.", "leave."),
)
"""The study's names → this package's."""


class CheckpointUnreadable(Exception):
    """The file is no checkpoint of this package nor of the study."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A run as it was at `step` of `total`, after `seconds` of work."""

    config: NetworkConfig
    network: dict[str, Tensor]
    average: dict[str, Tensor]
    """The moving mean of the weights: what is validated and shipped."""
    optimiser: dict[str, Any]
    step: int
    total: int
    seconds: float
    best: float
    """Lowest validation loss so far."""
    seed: int
    random: Tensor
    """State of the framework's own generator."""


def save(path: Path, saved: Saved) -> None:
    """The file appears whole or not at all."""
    content = {name: getattr(saved, name) for name in Saved.__slots__}
    content["config"] = saved.config.as_dict()
    waiting = path.with_name(f"{path.name}.tmp")
    torch.save(content, waiting)
    os.replace(waiting, path)


def load(path: Path, device: str | torch.device = "cpu") -> Saved:
    content = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(content, dict) or "average" not in content:
        raise CheckpointUnreadable(f"{path} holds no training run.")
    content["config"] = NetworkConfig.from_dict(content["config"])
    content["random"] = content["random"].cpu()
    return Saved(**content)


def load_network(path: Path) -> LiteNetwork:
    """For inference, batch norms folded, on the CPU: of a run, its averaged weights.

    Also of the study's file, which holds folded float16 weights and a scale each, in kernels of (bins, frames).
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if "average" in content:
        network = LiteNetwork(NetworkConfig.from_dict(content["config"]))
        network.load_state_dict(content["average"])
        return folded(network)
    if "e0.0.0.weight" not in content:
        raise CheckpointUnreadable(f"{path} is no checkpoint of this package nor of the study.")
    network = blank(STUDY)
    network.load_state_dict({_renamed(name): _turned(half.float() * scale) for name, (half, scale) in content.items()})
    return network


def load_graph(path: Path) -> LiteNetwork:
    """Of a graph that `export` wrote: what it was made from, folded and rounded to float16."""
    model = onnx.load(path)
    said = {prop.key: prop.value for prop in model.metadata_props}
    if "network" not in said:
        raise CheckpointUnreadable(f"{path} is no graph of this package.")
    network = blank(NetworkConfig.from_dict(json.loads(said["network"])))
    kept = {weight.name: torch.from_numpy(numpy_helper.to_array(weight).copy()) for weight in model.graph.initializer}
    names = network.state_dict()
    network.load_state_dict({name: kept[f"{name}.half"].float() * kept[f"{name}.scale"] for name in names})
    return network


def _renamed(name: str) -> str:
    for pattern, replacement in STUDY_NAMES:
        name, hits = re.subn(pattern, replacement, name)
        if hits:
            break
    return name


def _turned(weight: Tensor) -> Tensor:
    return weight.mT.contiguous() if weight.ndim == 4 else weight
