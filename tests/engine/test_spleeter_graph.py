from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from engine.catalog import load_catalog
from engine.checkpoint import weights_sha256
from engine.errors import WeightsCorrupt
from engine.runtimes.onnx import OnnxRuntime
from engine.spleeter_graph import INPUT, build_graph, cached_graph
from tests.engine.checkpoints import random_tensors, write_random_checkpoint

CATALOG = load_catalog(Path(__file__).resolve().parents[2] / "assets" / "models.toml")


@functools.cache
def weights_of(count: int) -> dict[str, NDArray[Any]]:
    return random_tensors(count)


def stems_of(count: int) -> tuple[str, ...]:
    return CATALOG[f"spleeter:{count}stems"].stems


def test_the_graph_is_valid_and_names_its_outputs_by_stem_but_the_last() -> None:
    model = build_graph(weights_of(2), stems_of(2), 1536)
    onnx.checker.check_model(model, full_check=True)
    assert [output.name for output in model.graph.output] == ["vocals"]
    dimensions = model.graph.input[0].type.tensor_type.shape.dim
    assert [size.dim_param or size.dim_value for size in dimensions] == ["batch", 2, 512, 1536]


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_cached_graph_is_built_again(damage: str, tmp_path: Path) -> None:
    weights = write_random_checkpoint(tmp_path / "weights")
    sha256, cache = weights_sha256(weights), tmp_path / "cache"
    graph = cached_graph(weights, sha256, stems_of(2), 1024, cache)
    whole, written = graph.read_bytes(), graph.stat().st_mtime_ns
    assert cached_graph(weights, sha256, stems_of(2), 1024, cache).stat().st_mtime_ns == written
    half = len(whole) // 2
    left = {"cut": whole[:half], "emptied": b"", "flipped": whole[:half] + b"\x7f" + whole[half + 1 :]}
    assert left["flipped"] != whole
    graph.write_bytes(left[damage])
    assert cached_graph(weights, sha256, stems_of(2), 1024, cache).read_bytes() == whole
    assert list(cache.iterdir()) == [graph]


def test_the_wider_form_takes_the_same_weights() -> None:
    for count in (2, 4, 5):
        narrow, wide = CATALOG[f"spleeter:{count}stems"], CATALOG[f"spleeter:{count}stems-16kHz"]
        assert (narrow.bins, wide.bins) == (1024, 1536)
        assert (narrow.stems, narrow.archive) == (wide.stems, wide.archive)
    graphs = [build_graph(weights_of(2), stems_of(2), bins).graph for bins in (1024, 1536)]
    assert [node.op_type for node in graphs[0].node] == [node.op_type for node in graphs[1].node]
    assert list(graphs[0].initializer) == list(graphs[1].initializer)


@pytest.mark.parametrize(
    ("count", "activations", "others"),
    [(2, {"LeakyRelu", "Relu"}, {"Elu"}), (4, {"Elu"}, {"LeakyRelu", "Relu"}), (5, {"Elu"}, {"LeakyRelu", "Relu"})],
)
def test_each_model_has_its_activations_and_its_masks(
    count: int, activations: set[str], others: set[str], tmp_path: Path
) -> None:
    model = build_graph(weights_of(count), stems_of(count), 1024)
    operators = {node.op_type for node in model.graph.node}
    assert activations <= operators
    assert not others & operators
    graph = tmp_path / "graph.onnx"
    onnx.save(model, graph)
    session = OnnxRuntime().load(graph, threads=2, precision="f32")
    graph.unlink()  # up to 200 MB that pytest shouldn't keep
    magnitude = np.abs(np.random.default_rng(0).standard_normal((1, 2, 512, 1024))).astype(np.float32)
    magnitude[:, :, 200:300] = 0  # silence: every stem gets its share
    masks = np.stack(session.run({INPUT: magnitude}))
    session.close()
    assert masks.shape == (count - 1, 1, 2, 512, 1024)
    assert masks.min() >= 0
    assert masks.sum(axis=0).max() <= 1 + 1e-5
    np.testing.assert_allclose(masks[:, :, :, 200:300], 1 / count, atol=1e-6)
    assert masks[:, :, :, :200].std() > 0.01


@pytest.mark.parametrize(("weights", "model"), [(2, 4), (2, 5), (4, 5)])
def test_weights_of_a_smaller_model_are_refused_by_tensor(weights: int, model: int) -> None:
    with pytest.raises(WeightsCorrupt, match=f"lack the tensor conv2d_{7 * weights}/kernel"):
        build_graph(weights_of(weights), stems_of(model), 1024)


@pytest.mark.parametrize(("weights", "model"), [(4, 2), (5, 2), (5, 4)])
def test_weights_of_a_larger_model_are_refused_by_tensor(weights: int, model: int) -> None:
    """Its first stems would fit, and sound wrong."""
    with pytest.raises(WeightsCorrupt, match=f"conv2d_{7 * model}/kernel should not be there"):
        build_graph(weights_of(weights), stems_of(model), 1024)


@pytest.mark.parametrize("name", ["conv2d_9/kernel", "conv2d_transpose_11/bias", "batch_normalization_6/gamma"])
def test_a_tensor_of_another_shape_is_named(name: str) -> None:
    wrong = weights_of(2) | {name: np.zeros((3, 3), np.float32)}
    with pytest.raises(WeightsCorrupt, match=name):
        build_graph(wrong, stems_of(2), 1024)
