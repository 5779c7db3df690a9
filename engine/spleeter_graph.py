"""Spleeter's networks as one ONNX graph, built from the published weights.

One U-Net for each stem (the 2, 4 and 5-stem models differ in activations and in how the last layer makes
a mask of its numbers), all reading the same magnitudes. Source: spleeter/model/functions/unet.py, 2.4.2.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import read_checkpoint
from engine.dsp.masks import EPSILON
from engine.errors import WeightsCorrupt

if TYPE_CHECKING:
    import onnx

BUILDER_VERSION = 4
"""Part of a cached graph's name: raise it whenever the graph that is built changes."""

PATCH_FRAMES = 512
INPUT = "magnitude"
BATCH_NORM_EPSILON = 1e-3
FILTERS = (16, 32, 64, 128, 256, 512)
BLOCK = 4
"""Rows and columns at full size that the last layers compute at once."""
OPSET = 17
IR_VERSION = 9


@dataclass(frozen=True, slots=True)
class Variant:
    """What tells the published models apart; their weights have the same shapes for each stem."""

    activation: str
    """ONNX operator after the encoder's batch norms."""
    decoder_activation: str
    softmax: bool
    """Masks sum to one over the stems; else each is a sigmoid of its own."""


VARIANTS = {
    2: Variant("LeakyRelu", "Relu", softmax=False),
    4: Variant("Elu", "Elu", softmax=False),
    5: Variant("Elu", "Elu", softmax=True),
}
ALPHA = {"LeakyRelu": 0.2, "Elu": 1.0}


def cached_graph(weights: Path, sha256: str, stems: Sequence[str], bins: int, cache: Path) -> Path:
    """The graph's file below `cache`, built if it isn't there. `sha256` is the weights' own.

    Its name ends with its own hash: a file that is damaged would load, and sound wrong. Two processes may
    build at once: each writes a file of its own and renames it, the same bytes.
    """
    name = f"spleeter-{len(stems)}stems-{bins}-{sha256[:16]}-v{BUILDER_VERSION}"
    for graph in sorted(cache.glob(f"{name}-*.onnx")):
        with graph.open("rb") as found:
            if graph.stem == f"{name}-{hashlib.file_digest(found, 'sha256').hexdigest()[:16]}":
                return graph
        graph.unlink(missing_ok=True)
    cache.mkdir(parents=True, exist_ok=True)
    content = build_graph(read_checkpoint(weights), stems, bins).SerializeToString()
    graph = cache / f"{name}-{hashlib.sha256(content).hexdigest()[:16]}.onnx"
    descriptor, temporary = tempfile.mkstemp(dir=cache, suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, graph)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return graph


def build_graph(tensors: Mapping[str, NDArray[Any]], stems: Sequence[str], bins: int) -> onnx.ModelProto:
    """Input `magnitude` (batch, 2, 512, bins); outputs, named by stem, of the same shape: the mask of every
    stem but the last, whose mask is what the others leave of 1.

    Raises WeightsCorrupt when the tensors are not such a model's.
    """
    from onnx import TensorProto, helper

    variant = VARIANTS[len(stems)]
    if f"conv2d_{7 * len(stems)}/kernel" in tensors:
        raise WeightsCorrupt(
            f"These are weights of a model of more than {len(stems)} stems: "
            f"conv2d_{7 * len(stems)}/kernel should not be there."
        )
    graph = _Graph(tensors)
    logits = [_unet(graph, variant, index, stem) for index, stem in enumerate(stems)]
    shares = _softmax(graph, logits) if variant.softmax else _sigmoids(graph, logits)
    _ratio_masks(graph, [graph.node("Mul", [share, INPUT]) for share in shares], stems)

    def value(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2, PATCH_FRAMES, bins])

    return helper.make_model(
        helper.make_graph(
            graph.nodes, "spleeter", [value(INPUT)], [value(stem) for stem in stems[:-1]], graph.initializers
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="vocal-remover",
    )


def _unet(graph: _Graph, variant: Variant, index: int, stem: str) -> str:
    """The U-Net of stem number `index`; returns the name of its logits (batch, 2, 512, bins).

    The last transposed convolution and the one after it are computed at a quarter of the size, each 4x4 bins and
    frames of their planes as 16 channels: with one channel of output at full size they took a quarter of the network's
    time, with the 4 channels of half the size a seventh (processors compute 16 channels at once, wanted or not).
    """
    x, skips, channels = INPUT, [], 2
    for layer, filters in enumerate(FILTERS):
        convolution = graph.convolution(x, 7 * index + layer, (5, 5, channels, filters))
        skips.append(convolution)
        channels = filters
        if layer < 5:  # the sixth batch norm exists in the weights and is used by nobody
            x = graph.batch_norm(convolution, 12 * index + layer, filters)
            x = graph.activation(variant.activation, x)
    x = skips[5]
    for layer, filters in enumerate(FILTERS[-2::-1]):
        x = graph.transposed_convolution(x, 6 * index + layer, (5, 5, filters, channels))
        x = graph.activation(variant.decoder_activation, x)
        x = graph.batch_norm(x, 12 * index + 6 + layer, filters)
        x = graph.node("Concat", [skips[4 - layer], x], axis=1)
        channels = 2 * filters
    x = graph.blocked_transposed_convolution(x, 6 * index + 5, (5, 5, 1, channels))
    x = graph.activation(variant.decoder_activation, x)
    x = graph.batch_norm(x, 12 * index + 11, 1, copies=BLOCK * BLOCK)
    x = graph.blocked_last_convolution(x, 7 * index + 6)
    return graph.node("DepthToSpace", [x], blocksize=BLOCK)


def _sigmoids(graph: _Graph, logits: Sequence[str]) -> list[str]:
    """1 / (1 + exp(-x)), written out: ONNX Runtime's operator is right to an absolute 1e-7 only, and where
    every stem's value is tiny the masks hang on the ratio of tiny values (33 dB from Spleeter, not 120)."""
    one = graph.constant("one", np.ones(()))
    powers = [graph.node("Exp", [graph.node("Neg", [x])]) for x in logits]
    return [graph.node("Reciprocal", [graph.node("Add", [power, one])]) for power in powers]


def _softmax(graph: _Graph, logits: Sequence[str]) -> list[str]:
    """Softmax over the stems, written out: the stacked operator would first copy all stems together."""
    highest = graph.node("Max", logits)
    powers = [graph.node("Exp", [graph.node("Sub", [x, highest])]) for x in logits]
    total = graph.node("Sum", powers)
    return [graph.node("Div", [power, total]) for power in powers]


def _ratio_masks(graph: _Graph, estimates: Sequence[str], stems: Sequence[str]) -> None:
    """Mask of stem k out of n, named by stem, for all stems but the last: (o_k² + ε/n) / (Σ o² + ε).
    Source: spleeter/model/__init__.py (`_build_masks`, separation_exponent 2)."""
    powers = [graph.node("Mul", [estimate, estimate]) for estimate in estimates]
    total = graph.node("Add", [graph.node("Sum", powers), graph.constant("epsilon", np.full((), EPSILON))])
    part = graph.constant("epsilon/stem", np.full((), EPSILON / len(stems)))
    for stem, power in zip(stems[:-1], powers[:-1], strict=True):
        graph.node("Div", [graph.node("Add", [power, part]), total], stem)


class _Graph:
    """Nodes and weights gathered so far; layers are numbered as Keras names them."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def node(self, operator: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        from onnx import helper

        name = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def activation(self, operator: str, x: str) -> str:
        attributes: dict[str, Any] = {"alpha": ALPHA[operator]} if operator in ALPHA else {}
        return self.node(operator, [x], **attributes)

    def convolution(self, x: str, number: int, shape: tuple[int, ...]) -> str:
        """TensorFlow's 'same' at stride 2 pads 1 before and 2 after."""
        inputs = [x, *self._kernel("conv2d", number, shape, shape[3])]
        return self.node("Conv", inputs, kernel_shape=[5, 5], strides=[2, 2], pads=[1, 1, 2, 2])

    def transposed_convolution(self, x: str, number: int, shape: tuple[int, ...]) -> str:
        inputs = [x, *self._kernel("conv2d_transpose", number, shape, shape[2])]
        return self.node("ConvTranspose", inputs, kernel_shape=[5, 5], strides=[2, 2], pads=[1, 1, 2, 2])

    def blocked_transposed_convolution(self, x: str, number: int, shape: tuple[int, ...]) -> str:
        """`transposed_convolution` to one channel, as blocks."""
        key = _numbered("conv2d_transpose", number)
        kernel = blocked_upsampling(self._tensor(f"{key}/kernel", shape).transpose(3, 2, 0, 1))
        bias = np.tile(self._tensor(f"{key}/bias", (shape[2],)), BLOCK * BLOCK)
        inputs = [x, self.constant(f"{key}/kernel", kernel), self.constant(f"{key}/bias", bias)]
        return self.node("Conv", inputs, kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])

    def blocked_last_convolution(self, x: str, number: int) -> str:
        """Spleeter's last layer, 4x4 with dilation 2 from one channel to two, from blocks to blocks."""
        key = _numbered("conv2d", number)
        kernel = blocked_dilation(self._tensor(f"{key}/kernel", (4, 4, 1, 2)).transpose(3, 2, 0, 1))
        bias = np.tile(self._tensor(f"{key}/bias", (2,)), BLOCK * BLOCK)
        inputs = [x, self.constant(f"{key}/kernel", kernel), self.constant(f"{key}/bias", bias)]
        return self.node("Conv", inputs, kernel_shape=[3, 3], pads=[1, 1, 1, 1])

    def batch_norm(self, x: str, number: int, channels: int, copies: int = 1) -> str:
        """The four tensors of a batch norm folded into a factor and a summand for each channel; all of them
        `copies` times one after the other."""
        key = _numbered("batch_normalization", number)
        gamma, beta, mean, variance = (
            self._tensor(f"{key}/{name}", (channels,)).astype(np.float64)
            for name in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        factor = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        neutral = np.zeros(channels), np.ones(channels)
        names = [
            self.constant(f"{key}/{name}", np.tile(values, copies))
            for name, values in zip(
                ("factor", "summand", "mean", "variance"),
                (factor, beta - mean * factor, *neutral),
                strict=True,
            )
        ]
        return self.node("BatchNormalization", [x, *names], epsilon=0.0)

    def _kernel(self, base: str, number: int, shape: tuple[int, ...], filters: int) -> tuple[str, str]:
        """TensorFlow's (height, width, in, out) → ONNX's (out, in, height, width); for transposed
        convolutions both have in and out exchanged, so the same permutation serves."""
        key = _numbered(base, number)
        kernel = self._tensor(f"{key}/kernel", shape).transpose(3, 2, 0, 1)
        bias = self._tensor(f"{key}/bias", (filters,))
        return self.constant(f"{key}/kernel", kernel), self.constant(f"{key}/bias", bias)

    def constant(self, name: str, values: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    def _tensor(self, name: str, shape: tuple[int, ...]) -> NDArray[Any]:
        tensor = self._tensors.get(name)
        if tensor is None:
            raise WeightsCorrupt(f"The weights lack the tensor {name}.")
        if tensor.shape != shape:
            raise WeightsCorrupt(f"The tensor {name} has the shape {tensor.shape}, not {shape}.")
        return tensor


def blocked_upsampling(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A transposed convolution of 5x5, stride 2 and one sample cut off in front, to one channel, (in, 1, 5, 5) → a
    plain 4x4 one of stride 2, padded by 1, to the blocks of its result, (BLOCK², in, 4, 4), in DepthToSpace's order.

    Sample 4m + i meets input 2m - 1 + tap at tap i + 3 - 2 · tap of the kernel, where that has one."""
    channels = len(kernel)
    blocks = np.zeros((BLOCK, BLOCK, channels, 4, 4), np.float32)
    taps = [(i, tap, i + 3 - 2 * tap) for i in range(BLOCK) for tap in range(4) if 0 <= i + 3 - 2 * tap < 5]
    for row, down, vertical in taps:
        for column, across, horizontal in taps:
            blocks[row, column, :, down, across] = kernel[:, 0, vertical, horizontal]
    return blocks.reshape(BLOCK * BLOCK, channels, 4, 4)


def blocked_dilation(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """A 4x4 convolution of dilation 2, padded by 3, from one channel, (out, 1, 4, 4) → a plain 3x3 one, padded by 1,
    from blocks to blocks, (BLOCK² · out, BLOCK², 3, 3): sample i of a block meets i - 3, i - 1, i + 1 and i + 3."""
    filters = len(kernel)
    blocks = np.zeros((BLOCK, BLOCK, filters, BLOCK, BLOCK, 3, 3), np.float32)
    taps = [(i, tap, *divmod(i - 3 + 2 * tap + BLOCK, BLOCK)) for i in range(BLOCK) for tap in range(4)]
    for row, vertical, down, met_row in taps:
        for column, horizontal, across, met_column in taps:
            blocks[row, column, :, met_row, met_column, down, across] = kernel[:, 0, vertical, horizontal]
    return blocks.reshape(BLOCK * BLOCK * filters, BLOCK * BLOCK, 3, 3)


def _numbered(base: str, number: int) -> str:
    """Keras numbers its layers from the second on: conv2d, conv2d_1, ..."""
    return base if number == 0 else f"{base}_{number}"
