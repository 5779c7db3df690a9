"""Random weights in the published Spleeter format: real checkpoints, made without TensorFlow.

`write_random_checkpoint` gives a folder that both the engine and Spleeter itself can load.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.checkpoint import BLOCK_TRAILER_BYTES, FOOTER_BYTES, TABLE_MAGIC, masked_crc32c

FILTERS = (16, 32, 64, 128, 256, 512)
RESTART_INTERVAL = 16
DTYPE_NUMBERS = {np.dtype("<f4"): 1, np.dtype("<i8"): 9}


def write_random_checkpoint(folder: Path, stems: int = 2, seed: int = 0) -> Path:
    """Make `folder` with random weights for that many stems, the same ones for the same seed."""
    write_checkpoint(folder, random_tensors(stems, seed))
    return folder


def random_tensors(stems: int = 2, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Every variable of Spleeter's networks, by the names that Keras gives them.

    Kernels are drawn as Keras's he_uniform does; batch norms are away from their neutral values, so that
    a batch norm that is left out or misplaced is heard.
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, NDArray[Any]] = {"global_step": np.array(1, "<i8")}

    def name(base: str, index: int) -> str:
        return base if index == 0 else f"{base}_{index}"

    def kernel(key: str, shape: tuple[int, int, int, int], fan_in: int, filters: int) -> None:
        limit = np.sqrt(6 / fan_in)
        tensors[f"{key}/kernel"] = rng.uniform(-limit, limit, shape).astype("<f4")
        tensors[f"{key}/bias"] = rng.normal(0, 0.02, filters).astype("<f4")

    def batch_norm(index: int, filters: int) -> None:
        key = name("batch_normalization", index)
        tensors[f"{key}/gamma"] = rng.uniform(0.8, 1.2, filters).astype("<f4")
        tensors[f"{key}/beta"] = rng.normal(0, 0.05, filters).astype("<f4")
        tensors[f"{key}/moving_mean"] = rng.normal(0, 0.05, filters).astype("<f4")
        tensors[f"{key}/moving_variance"] = rng.uniform(0.5, 1.5, filters).astype("<f4")

    for stem in range(stems):
        channels = 2
        for layer, filters in enumerate(FILTERS):
            kernel(name("conv2d", stem * 7 + layer), (5, 5, channels, filters), 25 * channels, filters)
            batch_norm(stem * 12 + layer, filters)
            channels = filters
        for layer, filters in enumerate((*FILTERS[-2::-1], 1)):
            base = name("conv2d_transpose", stem * 6 + layer)
            # A stride of 2 lets only a quarter of the 25 taps meet an output sample.
            kernel(base, (5, 5, filters, channels), 7 * channels, filters)
            batch_norm(stem * 12 + 6 + layer, filters)
            channels = filters * 2
        kernel(name("conv2d", stem * 7 + 6), (4, 4, 1, 2), 16, 2)
    return tensors


def write_checkpoint(folder: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Save tensors as a TensorFlow bundle of one shard, with the file that names it the latest one."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(b"", _number(1, 1) + _number(2, 0) + _message(3, _number(1, 1)))]
    offset = 0
    with (folder / "model.data-00000-of-00001").open("wb") as data:
        for name in sorted(tensors):
            content = tensors[name].tobytes()
            rows.append((name.encode(), _entry(tensors[name], offset, content)))
            data.write(content)
            offset += len(content)
    (folder / "model.index").write_bytes(_table(rows))
    (folder / "checkpoint").write_text('model_checkpoint_path: "model"\nall_model_checkpoint_paths: "model"\n')


def _entry(tensor: NDArray[Any], offset: int, content: bytes) -> bytes:
    dimensions = b"".join(_message(2, _number(1, size)) for size in tensor.shape)
    crc = _varint(6 << 3 | 5) + struct.pack("<I", masked_crc32c(content))
    dtype = _number(1, DTYPE_NUMBERS[tensor.dtype])
    return dtype + _message(2, dimensions) + _number(4, offset) + _number(5, len(content)) + crc


def _table(rows: list[tuple[bytes, bytes]]) -> bytes:
    """A sorted string table of several data blocks, as a writer with small blocks makes it."""
    out = bytearray()
    index = []
    for start in range(0, len(rows), 50):
        block = rows[start : start + 50]
        index.append((block[-1][0], _handle(out, _block(block))))
    metaindex = _handle(out, _block([]))
    footer = metaindex + _handle(out, _block(index))
    out += footer.ljust(FOOTER_BYTES - 8, b"\0") + struct.pack("<Q", TABLE_MAGIC)
    return bytes(out)


def _handle(out: bytearray, block: bytes) -> bytes:
    handle = _varint(len(out)) + _varint(len(block))
    trailer = b"\0" + struct.pack("<I", masked_crc32c(block + b"\0"))
    assert len(trailer) == BLOCK_TRAILER_BYTES
    out += block + trailer
    return handle


def _block(rows: list[tuple[bytes, bytes]]) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(rows):
        shared = 0
        if number % RESTART_INTERVAL == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += _varint(shared) + _varint(len(key) - shared) + _varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _message(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
