"""A patch's samples as a file that knows whether it is whole.

Sixteen bytes, all numbers little-endian: `VRP1`, the CRC32C of what follows it, columns, frames; then the samples as
float32, frame by frame.
"""

from __future__ import annotations

import struct
from pathlib import Path

import google_crc32c
import numpy as np

from engine.audio import Samples
from engine.errors import PatchCorrupt

MAGIC = b"VRP1"
HEADER = struct.Struct("<4sI")
SHAPE = struct.Struct("<II")


def write_patch(path: Path, samples: Samples) -> None:
    """(frames, columns) into a new file, which is not synced. Raises OSError; what is there then is the caller's
    to remove."""
    frames, columns = samples.shape
    shape, content = SHAPE.pack(columns, frames), samples.astype("<f4", copy=False).tobytes()
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, _crc(shape, content)) + shape)
        file.write(content)


def read_patch(path: Path) -> Samples:
    """Read-only samples (frames, columns). Raises PatchCorrupt for a file that is cut, damaged or something else, and
    OSError for one that can't be read."""
    with path.open("rb") as file:
        head = file.read(HEADER.size + SHAPE.size)
        content = file.read()
    if len(head) < HEADER.size + SHAPE.size or not head.startswith(MAGIC):
        raise PatchCorrupt("What was kept of a song is not a patch, or only the beginning of one.")
    (_, crc), shape = HEADER.unpack_from(head), head[HEADER.size :]
    columns, frames = SHAPE.unpack(shape)
    if len(content) != 4 * columns * frames or _crc(shape, content) != crc:
        raise PatchCorrupt("A patch that was kept is cut or damaged: its checksum is another one.")
    return np.frombuffer(content, "<f4").astype(np.float32, copy=False).reshape(frames, columns)


def _crc(shape: bytes, content: bytes) -> int:
    crc: int = google_crc32c.extend(google_crc32c.value(shape), content)
    return crc
