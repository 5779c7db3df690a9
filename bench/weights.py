"""Random weights in the published layout, the same for everybody: speed doesn't depend on what they know.

Spleeter and we read the checkpoint; sherpa-onnx takes one graph for each stem, built here the way its own
export script builds them (scripts/spleeter of k2-fsa/sherpa-onnx): batch norms as factor and summand,
magnitudes in and out, (2, patches, 512, 1024).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.engine.checkpoints import random_tensors, write_random_checkpoint

STEMS = ("vocals", "accompaniment")
EPSILON = 1e-3
METADATA = {"model_type": "spleeter", "sample_rate": "44100", "version": "1", "stems": "2", "model_name": "2stems"}


def checkpoint(folder: Path, stems: int) -> Path:
    """A folder that Spleeter takes for its downloaded weights (`.probe` tells it so)."""
    if not (folder / ".probe").exists():
        write_random_checkpoint(folder, stems)
        (folder / ".probe").write_text("OK")
    return folder


def sherpa_graphs(folder: Path) -> list[Path]:
    """vocals.onnx and accompaniment.onnx with the weights of `checkpoint(…, 2)`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}.onnx" for stem in STEMS]
    if not all(path.exists() for path in paths):
        tensors = random_tensors(2)
        for index, path in enumerate(paths):
            partial = path.with_suffix(".partial")
            onnx.save(sherpa_graph(tensors, index), partial)
            os.replace(partial, path)
    return paths


def sherpa_graph(tensors: dict[str, NDArray[Any]], stem: int) -> onnx.ModelProto:
    graph = _Graph(tensors, stem)
    spectrogram = x = graph.node("Transpose", ["x"], perm=[1, 0, 2, 3])
    skips = []
    for layer in range(6):
        skips.append(graph.convolution(x, layer, strides=[2, 2], kernel_shape=[5, 5], pads=[1, 1, 2, 2]))
        if layer < 5:
            x = graph.node("LeakyRelu", [graph.batch_norm(skips[layer], layer)], alpha=0.2)
    x = skips[5]
    for layer in range(6):
        x = graph.batch_norm(graph.node("Relu", [graph.transposed_convolution(x, layer)]), 6 + layer)
        if layer < 5:
            x = graph.node("Concat", [skips[4 - layer], x], axis=1)
    x = graph.convolution(x, 6, kernel_shape=[4, 4], dilations=[2, 2], pads=[3, 3, 3, 3])
    x = graph.node("Mul", [graph.node("Sigmoid", [x]), spectrogram])
    graph.nodes.append(helper.make_node("Transpose", [x], ["y"], perm=[1, 0, 2, 3]))
    inputs, outputs = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, "patches", 512, 1024])] for name in ("x", "y")
    )
    model = helper.make_model(
        helper.make_graph(graph.nodes, STEMS[stem], inputs, outputs, graph.initializers),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    helper.set_model_props(model, METADATA | {"model_url": "", "comment": STEMS[stem]})
    return model


class _Graph:
    def __init__(self, tensors: dict[str, NDArray[Any]], stem: int) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._tensors, self._stem = tensors, stem

    def node(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def convolution(self, x: str, layer: int, **attributes: Any) -> str:
        return self.node("Conv", [x, *self._kernel("conv2d", self._stem * 7 + layer)], **attributes)

    def transposed_convolution(self, x: str, layer: int) -> str:
        inputs = [x, *self._kernel("conv2d_transpose", self._stem * 6 + layer)]
        return self.node("ConvTranspose", inputs, kernel_shape=[5, 5], strides=[2, 2], pads=[1, 1, 2, 2])

    def batch_norm(self, x: str, layer: int) -> str:
        key = _numbered("batch_normalization", self._stem * 12 + layer)
        gamma, beta, mean, variance = (
            self._tensors[f"{key}/{name}"] for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + EPSILON)
        scaled = self.node("Mul", [x, self._constant(factor.reshape(1, -1, 1, 1))])
        return self.node("Add", [scaled, self._constant((beta - mean * factor).reshape(1, -1, 1, 1))])

    def _kernel(self, base: str, number: int) -> list[str]:
        key = _numbered(base, number)
        kernel = self._tensors[f"{key}/kernel"].transpose(3, 2, 0, 1)
        return [self._constant(kernel), self._constant(self._tensors[f"{key}/bias"])]

    def _constant(self, values: NDArray[Any]) -> str:
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name


def _numbered(base: str, number: int) -> str:
    return base if number == 0 else f"{base}_{number}"
