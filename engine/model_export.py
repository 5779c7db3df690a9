"""Graphs as a Triton model repository, for servers that the runtime `kserve` speaks to.

    DIR/spleeter-2stems-1024-f3a90b39dd287426-v3/config.pbtxt
    DIR/spleeter-2stems-1024-f3a90b39dd287426-v3/1/model.onnx

A model's folder has the name of its graph's file, by which `kserve` asks for it. Source: Triton's
`model_repository.md` and `model_configuration.md`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError, WeightsUnavailable

if TYPE_CHECKING:
    import onnx

    from engine.catalog import Catalog, ModelSpec

VERSION = "1"
MAX_BATCH = 8
QUEUE_MICROSECONDS = 2000
"""How long the server may wait for a batch to fill: a fraction of one patch's time, on a GPU too."""


def export_model(
    spec: ModelSpec,
    catalog: Catalog,
    repository: Path,
    *,
    weights: Path | None,
    graph_cache: Path,
    max_batch: int = MAX_BATCH,
) -> Path:
    """Write one model of the catalogue into `repository`; `weights` is the folder of those not embedded.

    Returns the model's folder. Raises WeightsUnavailable and WeightsCorrupt.
    """
    if spec.graph is not None:
        return export_graph(catalog.assets / spec.graph, repository, max_batch=max_batch)
    if weights is None:
        raise WeightsUnavailable(f"The weights of model {spec.id!r} are not in the cache.")
    from engine.checkpoint import weights_sha256
    from engine.spleeter_graph import cached_graph

    graph = cached_graph(weights, weights_sha256(weights), spec.stems, spec.bins, graph_cache)
    return export_graph(graph, repository, max_batch=max_batch)


def export_graph(graph: Path, repository: Path, *, max_batch: int = MAX_BATCH) -> Path:
    """Write the graph and its configuration as the model `graph.stem`; returns the model's folder.

    A server batches up to `max_batch` patches of different songs. Kernels round differently in batches of
    different sizes: with 1 a song's samples never depend on what else the server does.
    """
    import onnx

    folder = repository / graph.stem
    configuration = triton_configuration(onnx.load(graph, load_external_data=False), graph.stem, max_batch)
    (folder / VERSION).mkdir(parents=True, exist_ok=True)
    # The graph first: a server that looks meanwhile takes a model by its configuration.
    with graph.open("rb") as content:
        _replace(folder / VERSION / "model.onnx", content.read())
    _replace(folder / "config.pbtxt", configuration.encode())
    return folder


def triton_configuration(model: onnx.ModelProto, name: str, max_batch: int = MAX_BATCH) -> str:
    """`config.pbtxt` of a graph. A graph whose first dimension is fixed is never batched.

    Raises EngineError for inputs or outputs that are not of 32-bit floats.
    """
    fixed = any(value.type.tensor_type.shape.dim[0].dim_value for value in model.graph.input)
    batch = 0 if fixed or max_batch < 1 else max_batch
    lines = [f"name: {json.dumps(name)}", 'backend: "onnxruntime"', f"max_batch_size: {batch}"]
    for side, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            sizes = _sizes(value)[1 if batch else 0 :]
            tensor = f"name: {json.dumps(value.name)} data_type: TYPE_FP32 dims: {sizes}"
            lines.append(f"{side} {{ {tensor} }}")
    if batch > 1:
        lines.append(f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}")
    return "\n".join(lines) + "\n"


def _sizes(value: onnx.ValueInfoProto) -> Sequence[int]:
    """Dimensions; -1 where any size goes."""
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        raise EngineError(f"The graph's {value.name} is not of 32-bit floats.")
    return [dimension.dim_value or -1 for dimension in tensor.shape.dim]


def _replace(path: Path, content: bytes) -> None:
    """The file appears whole or not at all."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, suffix=".partial")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(temporary, 0o644)  # the server is another user, as a rule
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
