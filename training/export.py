"""Checkpoint → the ONNX graph that the service runs.

Batch norms are folded into convolutions, every tensor is kept as float16 beside one scale (its largest magnitude).
The graph turns them into float32 with one Cast and one Mul each, which runtimes fold away when they load it: half the
size, the same results. The same checkpoint and versions give the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.checkpoint import load_network
from training.configuration import BINS, NetworkConfig
from training.network import LiteNetwork

OPSET = 17
LARGEST = 6_000_000
"""Bytes of a graph that may be committed."""

Packed = dict[str, tuple[torch.Tensor, float]]
"""Name of a weight → (float16 tensor, scale)."""


class GraphTooLarge(Exception):
    """More bytes than may be committed."""


@dataclass(frozen=True, slots=True)
class Graph:
    path: Path
    size: int
    sha256: str
    """What assets/models.toml says as `graph_sha256`."""


def export(
    checkpoint: Path,
    path: Path,
    mask_exponent: float | None = None,
    mask_shift: float | None = None,
    memory: int | None = None,
) -> Graph:
    """`mask_exponent`, `mask_shift` and `memory` are by default the configuration's. Raises GraphTooLarge."""
    network = load_network(checkpoint)
    if memory is not None:
        network.config = replace(network.config, memory=memory)
        network.recurrent.memory = memory
    network.exponent = network.config.mask_exponent if mask_exponent is None else mask_exponent
    network.shift = network.config.mask_shift if mask_shift is None else mask_shift
    packed = packed_weights(network)
    network.load_state_dict({name: half.float() * scale for name, (half, scale) in packed.items()})
    write_graph(network, path)
    pack_weights(path, packed, network.config)
    content = path.read_bytes()
    if len(content) > LARGEST:
        raise GraphTooLarge(f"{path} has {len(content):,} bytes; {LARGEST:,} may be committed.")
    return Graph(path, len(content), hashlib.sha256(content).hexdigest())


def packed_weights(network: LiteNetwork) -> Packed:
    packed: Packed = {}
    for name, weight in network.state_dict().items():
        scale = float(np.float32(weight.abs().max() + 1e-20))
        packed[name] = ((weight / scale).half().contiguous(), scale)
    return packed


def write_graph(network: LiteNetwork, path: Path) -> None:
    """Write the graph with a dynamic `frames` axis and every weight under its own name."""
    torch.onnx.export(
        network,
        (torch.rand(1, 4, 64, BINS),),
        path,
        input_names=["magnitudes"],
        output_names=["demix"],
        dynamic_axes={"magnitudes": {2: "frames"}, "demix": {2: "frames"}},
        opset_version=OPSET,
        do_constant_folding=False,  # folded weights would lose their names, and so their float16 form
        dynamo=False,
    )


def pack_weights(path: Path, packed: Packed, config: NetworkConfig) -> None:
    """The graph also says of which configuration it is, so that training can go on from it."""
    model = onnx.load(path)
    helper.set_model_props(model, {"network": json.dumps(config.as_dict())})
    graph = model.graph
    kept, unpacking = [], []
    for weight in graph.initializer:
        if weight.name not in packed:
            kept.append(weight)
            continue
        half, scale = packed[weight.name]
        expected = half.float().numpy() * np.float32(scale)
        if not np.array_equal(numpy_helper.to_array(weight), expected):
            raise ValueError(f"{weight.name} changed on its way into the graph")
        name = weight.name
        kept.append(numpy_helper.from_array(half.numpy(), f"{name}.half"))
        kept.append(numpy_helper.from_array(np.array(scale, np.float32), f"{name}.scale"))
        unpacking.append(helper.make_node("Cast", [f"{name}.half"], [f"{name}.cast"], to=TensorProto.FLOAT))
        unpacking.append(helper.make_node("Mul", [f"{name}.cast", f"{name}.scale"], [name]))
    nodes = unpacking + list(graph.node)
    for node in nodes:
        node.ClearField("doc_string")
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
