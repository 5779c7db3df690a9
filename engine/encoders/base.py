"""What an encoder is, and the file that it writes to."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Block = NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32]
"""(frames, channels): float32 with full scale 1.0, or integers that fill their type."""


class Encoder(Protocol):
    """Writes one file. `finish` or `abort` ends it. All raise OSError with the system's own reason."""

    def write(self, block: Block) -> None:
        """The next block, which must not change any more."""
        ...

    def finish(self) -> None:
        """Write all that is still held back, and close the file."""
        ...

    def abort(self) -> None:
        """Close the file, whatever is in it. Never raises; may be called after `finish`."""
        ...


class OutputFile(io.RawIOBase):
    """A file that codec libraries write to through callbacks, and that remembers why a write failed.

    Their own words are "System error.", a failed assertion or nothing at all. So they are never told: whoever
    gives them work asks `check` afterwards.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._error: OSError | None = None
        self._dropped = False

    def check(self) -> None:
        """Raises the OSError of the first write that failed."""
        if self._error is not None:
            raise OSError(self._error.errno, self._error.strerror, str(self._path)) from self._error

    def drop(self) -> None:
        """From now on nothing is written any more."""
        self._dropped = True

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        size = len(rest)
        try:
            while rest and not self._dropped:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._error = error
            self.drop()
        return size

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()
