"""Models as a Triton repository: a configuration that Triton's own schema takes, and graphs that still run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from typer.testing import CliRunner

from cli.main import app
from engine.catalog import Catalog
from engine.checkpoint import weights_sha256
from engine.errors import EngineError, WeightsUnavailable
from engine.model_export import export_graph, export_model, triton_configuration
from engine.runtimes.kserve import KserveRuntime
from engine.runtimes.onnx import OnnxRuntime
from engine.spleeter_graph import cached_graph
from tests.engine.checkpoints import write_random_checkpoint
from tests.engine.inference_server import inference_server
from tests.engine.small_graphs import INPUT, OUTPUTS, magnitudes, write_network

TYPE_FP32 = 11


SCHEMA = """
name: "model_config.proto" package: "inference" syntax: "proto3"
enum_type { name: "DataType" value { name: "TYPE_INVALID" number: 0 } value { name: "TYPE_FP32" number: 11 } }
message_type {
  name: "ModelInput"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
  field { name: "dims" number: 4 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "ModelOutput"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "data_type" number: 2 type: TYPE_ENUM type_name: ".inference.DataType" }
  field { name: "dims" number: 3 type: TYPE_INT64 label: LABEL_REPEATED }
}
message_type {
  name: "ModelDynamicBatching"
  field { name: "max_queue_delay_microseconds" number: 2 type: TYPE_UINT64 }
}
message_type {
  name: "ModelConfig"
  field { name: "name" number: 1 type: TYPE_STRING }
  field { name: "max_batch_size" number: 4 type: TYPE_INT32 }
  field { name: "input" number: 5 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".inference.ModelInput" }
  field { name: "output" number: 6 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".inference.ModelOutput" }
  field { name: "dynamic_batching" number: 11 type: TYPE_MESSAGE type_name: ".inference.ModelDynamicBatching" }
  field { name: "backend" number: 17 type: TYPE_STRING }
}
"""
"""Triton's model_config.proto, as far as we write it, with its own names, numbers and types."""


def triton_schema() -> Any:
    pool = DescriptorPool()
    pool.Add(text_format.Parse(SCHEMA, FileDescriptorProto()))
    return GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))


def parsed(folder: Path) -> Any:
    return text_format.Parse((folder / "config.pbtxt").read_text("utf-8"), triton_schema()())


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_checkpoint(tmp_path_factory.mktemp("weights") / "2stems")


def test_spleeter_is_exported_as_triton_wants_it_and_served_by_its_name(
    catalog: Catalog, weights: Path, tmp_path: Path
) -> None:
    spec = catalog["spleeter:2stems"]
    folder = export_model(spec, catalog, tmp_path / "triton", weights=weights, graph_cache=tmp_path / "cache")
    graph = cached_graph(weights, weights_sha256(weights), spec.stems, spec.bins, tmp_path / "cache")
    assert folder == tmp_path / "triton" / graph.stem
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["1", "1/model.onnx", "config.pbtxt"]
    configuration = parsed(folder)
    assert (configuration.name, configuration.backend) == (graph.stem, "onnxruntime")
    assert (configuration.max_batch_size, configuration.dynamic_batching.max_queue_delay_microseconds) == (8, 2000)
    tensors = [*configuration.input, *configuration.output]
    assert [tensor.name for tensor in tensors] == ["magnitude", "vocals"]
    assert all((list(tensor.dims), tensor.data_type) == ([2, 512, 1024], TYPE_FP32) for tensor in tensors)
    assert (folder / "1" / "model.onnx").read_bytes() == graph.read_bytes()
    with inference_server({folder.name: folder / "1" / "model.onnx"}) as server:
        inputs = {"magnitude": np.abs(np.random.default_rng(0).normal(0, 5, (1, 2, 512, 1024))).astype(np.float32)}
        served = KserveRuntime(server.url).load(graph, threads=1)
        here = OnnxRuntime().load(graph, threads=2)
        for one, two in zip(here.run(inputs), served.run(inputs), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)
        served.close()


def test_lite_is_exported_without_batches(catalog: Catalog, tmp_path: Path) -> None:
    folder = export_model(catalog["lite"], catalog, tmp_path, weights=None, graph_cache=tmp_path / "cache")
    configuration = parsed(folder)
    assert (configuration.name, configuration.max_batch_size) == ("lite", 0)
    assert not configuration.HasField("dynamic_batching")
    assert [(one.name, list(one.dims)) for one in configuration.input] == [("magnitudes", [1, 4, -1, 1024])]
    session = onnxruntime.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])
    (demix,) = session.run(None, {"magnitudes": np.ones((1, 4, 64, 1024), np.float32)})
    assert demix.shape == (1, 4, 64, 1024)
    ((name, dims),) = [(one.name, list(one.dims)) for one in configuration.output]
    assert name == "demix"
    assert len(dims) == 4 and all(size in (-1, real) for size, real in zip(dims, demix.shape, strict=True))


@pytest.mark.parametrize(("max_batch", "batching"), [(1, False), (4, True)])
def test_batches_are_as_large_as_was_said(tmp_path: Path, max_batch: int, batching: bool) -> None:
    graph = write_network(tmp_path / 'a "small" one.onnx')
    configuration = parsed(export_graph(graph, tmp_path / "triton", max_batch=max_batch))
    assert configuration.name == 'a "small" one'
    assert (configuration.max_batch_size, configuration.HasField("dynamic_batching")) == (max_batch, batching)
    assert [one.name for one in configuration.output] == list(OUTPUTS)
    assert [list(one.dims) for one in configuration.input] == [[2, 16, 32]]


def test_exporting_again_replaces_the_model(tmp_path: Path) -> None:
    old = write_network(tmp_path / "small.onnx", seed=1).read_bytes()
    export_graph(tmp_path / "small.onnx", tmp_path / "triton", max_batch=2)
    new = write_network(tmp_path / "small.onnx", seed=2).read_bytes()
    folder = export_graph(tmp_path / "small.onnx", tmp_path / "triton", max_batch=3)
    assert old != new and (folder / "1" / "model.onnx").read_bytes() == new
    assert parsed(folder).max_batch_size == 3
    assert sorted(path.name for path in folder.rglob("*")) == ["1", "config.pbtxt", "model.onnx"]
    (expected,) = OnnxRuntime().load(tmp_path / "small.onnx", threads=1).run({INPUT: magnitudes()})[:1]
    found = OnnxRuntime().load(folder / "1" / "model.onnx", threads=1).run({INPUT: magnitudes()})[0]
    np.testing.assert_array_equal(expected, found)


def test_what_can_not_be_exported_is_said(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(WeightsUnavailable, match="spleeter:2stems"):
        export_model(catalog["spleeter:2stems"], catalog, tmp_path, weights=None, graph_cache=tmp_path)
    whole = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.INT64, ["batch", 3])
    model = onnx.helper.make_model(onnx.helper.make_graph([], "whole", [whole], []))
    with pytest.raises(EngineError, match="x is not of 32-bit floats"):
        triton_configuration(model, "whole")


def test_the_command_exports_what_is_ready(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VR_DATA_DIR", str(tmp_path / "data"))
    result = CliRunner().invoke(app, ["models", "export", str(tmp_path / "triton")])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"lite is in {tmp_path / 'triton' / 'lite'}\n"
    assert parsed(tmp_path / "triton" / "lite").name == "lite"
    absent = CliRunner().invoke(app, ["models", "export", str(tmp_path / "triton"), "--model", "spleeter:4stems"])
    assert absent.exit_code == 1
    assert "spleeter:4stems" in absent.stderr and "models pull" in absent.stderr
