"""Networks small enough for tests, with the operators and the input of Spleeter's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper, save

INPUT = "magnitude"
OUTPUTS = ("vocals", "accompaniment")
SHAPE = (2, 16, 32)
"""Of one item: `magnitude` is (batch, 2, 16, 32), and so are both outputs."""


def write_network(path: Path, *, quantised: bool = False, seed: int = 0) -> Path:
    """Two convolutions with a LeakyRelu and a sigmoid between, by random weights."""
    rng = np.random.default_rng(seed)
    initializers = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in {"first": (8, 2, 3, 3), "second": (2, 8, 3, 3), "third": (2, 8, 3, 3)}.items()
    ]
    same: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = []
    source = INPUT
    if quantised:
        initializers += [
            numpy_helper.from_array(np.array(0.1, np.float32), "scale"),
            numpy_helper.from_array(np.array(0, np.uint8), "zero"),
        ]
        nodes += [
            helper.make_node("QuantizeLinear", [INPUT, "scale", "zero"], ["rounded"]),
            helper.make_node("DequantizeLinear", ["rounded", "scale", "zero"], ["restored"]),
        ]
        source = "restored"
    nodes += [
        helper.make_node("Conv", [source, "first"], ["hidden"], **same),
        helper.make_node("LeakyRelu", ["hidden"], ["active"], alpha=0.2),
        helper.make_node("Conv", ["active", "second"], ["logits"], **same),
        helper.make_node("Conv", ["active", "third"], ["others"], **same),
        helper.make_node("Sigmoid", ["logits"], [OUTPUTS[0]]),
        helper.make_node("Sigmoid", ["others"], [OUTPUTS[1]]),
    ]

    def value(name: str) -> ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *SHAPE])

    graph = helper.make_graph(nodes, "small", [value(INPUT)], [value(name) for name in OUTPUTS], initializers)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def magnitudes(batch: int = 1, seed: int = 0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """(batch, 2, 16, 32), as large as spectra are."""
    return np.abs(np.random.default_rng(seed).normal(0, 5, (batch, *SHAPE))).astype(np.float32)


def write_masks(path: Path, stems: int, bins: int) -> Path:
    """In the place of Spleeter's graph for so many stems: a convolution and a sigmoid for each mask, by random
    weights, on patches of a length that is not looked at."""
    rng = np.random.default_rng(stems)
    masks = [f"mask{number}" for number in range(stems - 1)]
    weights = [numpy_helper.from_array(rng.normal(0, 0.4, (2, 2, 3, 3)).astype(np.float32), f"{m}/w") for m in masks]
    nodes = []
    for mask in masks:
        nodes.append(helper.make_node("Conv", [INPUT, f"{mask}/w"], [f"{mask}/logits"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Sigmoid", [f"{mask}/logits"], [mask]))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, "frames", bins]) for name in (INPUT, *masks)
    ]
    graph = helper.make_graph(nodes, "masks", values[:1], values[1:], weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path
