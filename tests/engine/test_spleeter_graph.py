from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine.catalog import load_catalog
from engine.errors import WeightsCorrupt
from engine.spleeter_graph import build_graph
from tests.engine.checkpoints import random_tensors

CATALOG = load_catalog(Path(__file__).resolve().parents[2] / "assets" / "models.toml")


@pytest.fixture(scope="module")
def tensors() -> dict[str, NDArray[Any]]:
    return random_tensors(stems=2)


def stems_of(count: int) -> tuple[str, ...]:
    return CATALOG[f"spleeter:{count}stems"].stems


def test_the_graph_is_valid_and_names_its_outputs_by_stem(tensors: dict[str, NDArray[Any]]) -> None:
    model = build_graph(tensors, stems_of(2), 1536)
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == ["vocals", "accompaniment"]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in dimensions] == ["batch", 2, 512, 1536]


def test_each_model_has_its_own_activations(tensors: dict[str, NDArray[Any]]) -> None:
    def operators(count: int) -> set[str]:
        weights = random_tensors(count) if count != 2 else tensors
        return {node.op_type for node in build_graph(weights, stems_of(count), 1024).graph.node}

    assert {"LeakyRelu", "Relu"} <= operators(2)
    assert "Elu" not in operators(2)
    for count in (4, 5):
        assert "Elu" in operators(count)
        assert not {"LeakyRelu", "Relu"} & operators(count)


def test_weights_of_a_smaller_model_are_refused_by_tensor(tensors: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(WeightsCorrupt, match="lack the tensor conv2d_14/kernel"):
        build_graph(tensors, stems_of(4), 1024)


def test_weights_of_a_larger_model_are_refused_by_tensor(tensors: dict[str, NDArray[Any]]) -> None:
    more = tensors | {"conv2d_14/kernel": tensors["conv2d/kernel"]}
    with pytest.raises(WeightsCorrupt, match="conv2d_14/kernel should not be there"):
        build_graph(more, stems_of(2), 1024)


@pytest.mark.parametrize("name", ["conv2d_9/kernel", "conv2d_transpose_11/bias", "batch_normalization_6/gamma"])
def test_a_tensor_of_another_shape_is_named(tensors: dict[str, NDArray[Any]], name: str) -> None:
    wrong = tensors | {name: np.zeros((3, 3), np.float32)}
    with pytest.raises(WeightsCorrupt, match=name):
        build_graph(wrong, stems_of(2), 1024)
