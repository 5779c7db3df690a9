"""What an inference request and its answer are as bytes: Open Inference Protocol v2, REST, as pure functions.

With the binary tensor data extension a body is a JSON header, whose length an HTTP header tells, and then
the tensors as raw little-endian numbers in the header's order. Source: the protocol's `rest.md` and Triton's
`extension_binary_data.md`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.errors import InferenceServerWrong
from engine.runtimes.base import Tensor

BINARY = "binary_tensor_data"
"""The extension's name in a server's metadata."""
HEADER_LENGTH = "Inference-Header-Content-Length"
FLOAT = "FP32"
LITTLE = np.dtype("<f4")


def names(model: Mapping[str, Any], side: str) -> list[str]:
    """Names of a model's `inputs` or `outputs`, in its metadata's order. Raises InferenceServerWrong."""
    try:
        found = [(str(tensor["name"]), tensor["datatype"]) for tensor in model[side]]
    except (KeyError, TypeError) as error:
        raise InferenceServerWrong(f"The inference server's description of the model has no {side}.") from error
    other = [datatype for _, datatype in found if datatype != FLOAT]
    if other or not found:
        raise InferenceServerWrong(
            f"The model on the inference server has {side} of {other or 'nothing'}, not {FLOAT}."
        )
    return [name for name, _ in found]


def request(inputs: Mapping[str, Tensor], outputs: Sequence[str], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and HTTP headers of an inference request."""
    tensors: list[dict[str, Any]] = []
    raw: list[bytes] = []
    for name, values in inputs.items():
        tensor: dict[str, Any] = {"name": name, "shape": list(values.shape), "datatype": FLOAT}
        if binary:
            raw.append(np.ascontiguousarray(values, LITTLE).tobytes())
            tensor["parameters"] = {"binary_data_size": len(raw[-1])}
        else:
            tensor["data"] = values.ravel().tolist()
        tensors.append(tensor)
    asked = [{"name": name, **({"parameters": {"binary_data": True}} if binary else {})} for name in outputs]
    header = json.dumps({"inputs": tensors, "outputs": asked}).encode()
    if not binary:
        return header, {"Content-Type": "application/json"}
    return b"".join((header, *raw)), {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(header))}


def response(body: bytes, header_length: str | None) -> dict[str, Tensor]:
    """Outputs by name, each in an array of its own. Raises InferenceServerWrong for anything else."""
    try:
        length = len(body) if header_length is None else int(header_length)
        header, offset = json.loads(body[:length]), length
        tensors: dict[str, Tensor] = {}
        for output in header["outputs"]:
            shape = [int(size) for size in output["shape"]]
            size = (output.get("parameters") or {}).get("binary_data_size")
            if output["datatype"] != FLOAT:
                raise ValueError(f"{output['name']} is {output['datatype']}")
            if size is None:
                values = np.asarray(output["data"], np.float32)
            elif size == math.prod(shape) * LITTLE.itemsize:
                values = np.frombuffer(body, LITTLE, math.prod(shape), offset).astype(np.float32)
                offset += size
            else:
                raise ValueError(f"{output['name']} has {size} bytes for the shape {shape}")
            tensors[str(output["name"])] = values.reshape(shape)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InferenceServerWrong(f"The inference server's answer is not one of this protocol: {error}.") from error
    return tensors
