"""Reads the published weights, TensorFlow tensor bundles, without TensorFlow.

A bundle is `model.index`, a sorted string table (LevelDB's format) of one BundleEntryProto for each
tensor, and `model.data-NNNNN-of-NNNNN`, the tensors' bytes one after the other. Every block of the table
and every tensor carries a CRC32C, all of which are checked here.

Sources of the formats: leveldb/doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto and
tensorflow/core/util/tensor_bundle/tensor_bundle.cc; masked CRCs as in tsl/lib/hash/crc32c.h.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from engine.errors import WeightsCorrupt

INDEX_NAME = "model.index"
DTYPES: Mapping[int, np.dtype[Any]] = {
    1: np.dtype("<f4"),
    2: np.dtype("<f8"),
    3: np.dtype("<i4"),
    9: np.dtype("<i8"),
}
"""TensorFlow's DataType numbers → numpy, little-endian as in the file."""

TABLE_MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
BLOCK_TRAILER_BYTES = 5
CRC_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where one tensor lies: `size` bytes at `offset` of data file number `shard`."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc32c: int


def read_checkpoint(folder: Path) -> Mapping[str, NDArray[Any]]:
    """Tensor name → array, all of them verified. Raises WeightsCorrupt naming the tensor at fault."""
    entries = read_index(folder / INDEX_NAME)
    tensors: dict[str, NDArray[Any]] = {}
    for data, shard_entries in _by_data_file(folder, entries):
        try:
            length = data.stat().st_size
            with data.open("rb") as source:
                for entry in sorted(shard_entries, key=lambda entry: entry.offset):
                    if entry.offset + entry.size > length:
                        raise WeightsCorrupt(f"{data} is cut: it ends within or before {entry.name}.")
                    source.seek(entry.offset)
                    tensors[entry.name] = _tensor(entry, source.read(entry.size), data)
        except OSError as error:
            raise WeightsCorrupt(f"{data} can't be read: {error}.") from error
    return tensors


def data_files(folder: Path) -> tuple[Path, ...]:
    """The bundle's data files in the order of their numbers, those that its index refers to."""
    return tuple(data for data, _ in _by_data_file(folder, read_index(folder / INDEX_NAME)))


def weights_sha256(weights: Path) -> str:
    """SHA-256 of the checkpoint's data file(s): the name of these weights in receipts and caches."""
    digest = hashlib.sha256()
    for data in data_files(weights):
        with data.open("rb") as source:
            while block := source.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_index(index: Path) -> tuple[TensorEntry, ...]:
    """The tensors that a bundle's index lists, sorted by name. Raises WeightsCorrupt."""
    try:
        table = index.read_bytes()
    except OSError as error:
        raise WeightsCorrupt(f"{index} can't be read: {error}.") from error
    try:
        entries = tuple(_entries(table))
        if not entries:
            raise _Malformed("it lists no tensor")
        return entries
    except (ValueError, IndexError, KeyError, struct.error) as error:
        raise WeightsCorrupt(f"{index} is not a TensorFlow checkpoint index: {error}.") from error


class _Malformed(ValueError):
    """The index is not what the formats say."""


def masked_crc32c(data: bytes) -> int:
    """CRC32C, rotated and shifted so that a CRC over bytes that hold CRCs stays a good one."""
    crc: int = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + CRC_MASK_DELTA) & 0xFFFFFFFF


def _by_data_file(folder: Path, entries: tuple[TensorEntry, ...]) -> Iterator[tuple[Path, list[TensorEntry]]]:
    for shard in sorted({entry.shard for entry in entries}):
        members = [entry for entry in entries if entry.shard == shard]
        found = list(folder.glob(f"model.data-{shard:05d}-of-?????"))
        if len(found) != 1:
            fault = "is missing" if not found else "is there more than once"
            raise WeightsCorrupt(
                f"The data file {shard} of {folder} {fault}; the tensor {members[0].name} should lie in it."
            )
        yield found[0], members


def _tensor(entry: TensorEntry, content: bytes, data: Path) -> NDArray[Any]:
    if masked_crc32c(content) != entry.masked_crc32c:
        raise WeightsCorrupt(f"{data} is damaged, or not its index's file: wrong CRC32C of {entry.name}.")
    dtype = DTYPES.get(entry.dtype)
    if dtype is None:
        raise WeightsCorrupt(f"The tensor {entry.name} has the unknown data type {entry.dtype}.")
    if math.prod(entry.shape) * dtype.itemsize != entry.size:
        raise WeightsCorrupt(f"The tensor {entry.name} has {entry.size} bytes, not those of {entry.shape}.")
    return np.frombuffer(content, dtype).reshape(entry.shape)


def _entries(table: bytes) -> Iterator[TensorEntry]:
    if len(table) < FOOTER_BYTES:
        raise _Malformed("it is shorter than a footer")
    footer = table[-FOOTER_BYTES:]
    (magic,) = struct.unpack_from("<Q", footer, FOOTER_BYTES - 8)
    if magic != TABLE_MAGIC:
        raise _Malformed("its magic number is wrong, or it is cut")
    position = 0
    handle = []
    for _ in range(4):  # metaindex (offset, size), then index (offset, size)
        number, position = _varint(footer, position)
        handle.append(number)
    if list(_block(table, handle[0], handle[1])):
        raise _Malformed("it has filters or statistics, which bundles never have")
    for _, block_handle in _block(table, handle[2], handle[3]):
        offset, position = _varint(block_handle, 0)
        size, _ = _varint(block_handle, position)
        for key, value in _block(table, offset, size):
            if key:  # the empty key holds the bundle's header
                yield _entry(key.decode(), value)
            elif dict(_fields(value)).get(2, 0) != 0:
                raise _Malformed("it was written big-endian")


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Key, value of each row: keys share a prefix with the row before; restart points end the block."""
    end = offset + size
    (crc,) = struct.unpack_from("<I", table, end + 1)
    if masked_crc32c(table[offset : end + 1]) != crc:
        raise _Malformed(f"the block at byte {offset} has a wrong CRC32C")
    if table[end] != 0:
        raise _Malformed(f"the block at byte {offset} is compressed, which bundles never are")
    block = table[offset:end]
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    rows_end = size - 4 - 4 * restarts
    position, key = 0, b""
    while position < rows_end:
        shared, position = _varint(block, position)
        unshared, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _entry(name: str, message: bytes) -> TensorEntry:
    """BundleEntryProto: dtype = 1, shape = 2, shard_id = 3, offset = 4, size = 5, crc32c = 6."""
    fields = dict(_fields(message))
    shape = []
    for number, dimension in _fields(_bytes(fields.get(2, b""))):
        if number == 2:  # TensorShapeProto.dim, whose field 1 is the size (0 is left out)
            shape.append(_int(dict(_fields(_bytes(dimension))).get(1, 0)))
    dtype, shard, offset, size, crc = (_int(fields.get(number, 0)) for number in (1, 3, 4, 5, 6))
    return TensorEntry(name, dtype, tuple(shape), shard, offset, size, crc)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field number, value of a protocol buffer message, for the wire types that bundles use."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            number, position = _varint(message, position)
            yield tag >> 3, number
        elif kind == 2:
            length, position = _varint(message, position)
            yield tag >> 3, message[position : position + length]
            position += length
        elif kind == 5:
            yield tag >> 3, struct.unpack_from("<I", message, position)[0]
            position += 4
        else:
            raise _Malformed(f"a message has the unknown wire type {kind}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """A little-endian base-128 number and the position after it."""
    number = shift = 0
    while True:
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
        if shift > 63:
            raise _Malformed("a number has too many bytes")


def _int(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise _Malformed("a field that should hold a number holds bytes")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise _Malformed("a field that should hold bytes holds a number")
    return value
