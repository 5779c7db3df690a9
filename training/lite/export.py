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

import torch

from training.export import OPSET, Packed, pack_weights
from training.lite.network import BINS, LiteNetwork

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


if __name__ == "__main__":
    main()
