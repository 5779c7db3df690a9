"""Checkpoint → ONNX graph: `python -m training.lite.export CHECKPOINT GRAPH`.

The checkpoint is a dictionary of name → (float16 tensor, scale): batch norms folded, every tensor divided
by its largest magnitude. The graph keeps the float16 numbers and turns them into float32 with one Cast and
one Mul each; runtimes fold these away when they load it, so it is half the size and computes the same.
"""

from __future__ import annotations

import argparse
import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from training.lite.network import BINS, LiteNetwork

OPSET = 17
RENAMES = (
    (r"^e0\.", "enter."),
    (r"^enc\.", "encode."),
    (r"^dec\.0\.0\.", "decode.0.0.0."),
    (r"^dec\.", "decode."),
    (r"^mid\.i\.", "recurrent.shrink."),
    (r"^mid\.g\.", "recurrent.first."),
    (r"^mid\.g2\.", "recurrent.second."),
    (r"^mid\.o\.", "recurrent.grow."),
    (r"^post\.", "settle."),
    (r"^fin\.", "leave."),
)
"""The checkpoint's names → this package's."""

Packed = dict[str, tuple[torch.Tensor, float]]
"""Name in `LiteNetwork` → (float16 tensor, scale)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("graph", type=Path)
    arguments = parser.parse_args()
    packed = read_checkpoint(arguments.checkpoint)
    export(build_network(packed), arguments.graph)
    pack_weights(arguments.graph, packed)
    content = arguments.graph.read_bytes()
    print(f"{arguments.graph}: {len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}")


def read_checkpoint(path: Path) -> Packed:
    """Also swaps the kernels' axes: the checkpoint's are (bins, frames), this package's (frames, bins)."""
    packed: Packed = {}
    for name, (tensor, scale) in torch.load(path, weights_only=True).items():
        for pattern, replacement in RENAMES:
            name, hits = re.subn(pattern, replacement, name)
            if hits:
                break
        packed[name] = (tensor.mT.contiguous() if tensor.ndim == 4 else tensor, scale)
    return packed


def build_network(packed: Packed) -> LiteNetwork:
    network = LiteNetwork()
    network.load_state_dict({name: half.float() * scale for name, (half, scale) in packed.items()})
    return network.eval()


def export(network: LiteNetwork, graph: Path) -> None:
    """Write the graph with a dynamic `frames` axis and every weight under its own name."""
    torch.onnx.export(
        network,
        (torch.rand(1, 4, 64, BINS),),
        graph,
        input_names=["magnitudes"],
        output_names=["demix"],
        dynamic_axes={"magnitudes": {2: "frames"}, "demix": {2: "frames"}},
        opset_version=OPSET,
        do_constant_folding=False,  # folded weights would lose their names, and so their float16 form
        dynamo=False,
    )


def pack_weights(path: Path, packed: Packed) -> None:
    model = onnx.load(path)
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
        kept.append(numpy_helper.from_array(np.float32(scale), f"{name}.scale"))
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


if __name__ == "__main__":
    main()
