"""What a storage does, whether its files lie in a folder or in buckets behind HTTP."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from backend.problem import Problem

ABANDONED_SECONDS = 24 * 3600
CHUNK_BYTES = 1 << 18
RETRY_SECONDS = 5


class StorageAway(Problem):
    """It can't be reached, or refuses all we ask; it may be otherwise in a moment, or when the operator has seen to
    it."""

    status = 503
    code = "storage_unavailable"
    detail = "The storage of songs and results can't be used at the moment."
    advice = f"Send the same request again in {RETRY_SECONDS} seconds."
    headers = {"Retry-After": str(RETRY_SECONDS)}


class StorageRefused(StorageAway):
    """It answers, and refuses this one file, which may be forbidden, archived or locked: waiting is of no use."""

    code = "storage_refused"
    detail = "The storage of songs and results refuses this file."
    advice = "Tell the operator, whose storage has a rule or a state of its own for this file."
    headers = {}


class StorageFailed(StorageAway):
    """It answers, and fails with this one file, again and again: waiting may be of use, but not for ever."""

    code = "storage_failed"
    detail = "The storage of songs and results fails with this file."


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it lies in the storage."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """What a client is to send by one PUT: `size` bytes of its file from `start`, with these headers."""

    url: str
    headers: dict[str, str]
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """What clients have sent, as a file to read, and which version of it that is."""

    file: Path
    version: str


class Sending(Protocol):
    """How clients send songs to the storage themselves. A place is a key; nothing counts as stored there.

    A link may be used again until it expires, whatever was found meanwhile: so what was looked at is kept by its
    version, under another key.
    """

    def offer(self, place: str, size: int, sha256: str) -> tuple[str, list[Part]]:
        """(a word to be told again, links). `sha256` in hexadecimal."""
        ...

    def arrived(self, place: str, word: str, size: int) -> AbstractContextManager[Arrived]:
        """What lies there now, fetched. Raises FileNotFoundError, and WrongSize without fetching it."""
        ...

    def keep(self, place: str, version: str, key: str) -> None:
        """Copy that version under a key, inside the storage; raises FileNotFoundError when it was replaced."""
        ...

    def withdraw(self, place: str, word: str) -> None:
        """Remove what was sent there."""
        ...


class WrongSize(Exception):
    """Carries how many bytes there are."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


class Storage(Protocol):
    """Files by keys (`backend.storage.keys`). A file is there whole or not at all, and outlives a power cut.

    Whatever asks a storage that can't be used raises StorageAway, but for `delete`; StorageRefused or StorageFailed,
    which are such, where only this file can't. What this machine lacks (file handles, memory) is raised as what it is.
    """

    @property
    def sending(self) -> Sending | None:
        """None where songs come through the API."""
        ...

    def adopt(self, file: Path, key: str) -> None:
        """Keep a finished file of an `incoming` folder under its key, in place of what was there; the file is gone
        from its folder afterwards. Raises OSError."""
        ...

    def local(self, key: str, owner: str = "api") -> AbstractContextManager[Path]:
        """The file where programs can read it, for as long as the context lasts; for `owner` see `incoming`. Raises
        FileNotFoundError."""
        ...

    def place(self, key: str) -> Path | None:
        """Where the file lies, if that is a folder of this machine; else it is to be `read`."""
        ...

    def read(self, key: str, start: int = 0, size: int | None = None) -> Iterator[bytes]:
        """Its bytes from `start`, so many or all. Raises FileNotFoundError."""
        ...

    def size(self, key: str) -> int:
        """In bytes. Raises FileNotFoundError."""
        ...

    def link(self, key: str, filename: str, media_type: str) -> str | None:
        """An address where anybody gets it for a while, under that name; None where it goes through the API."""
        ...

    def listed(self, prefix: str) -> Iterator[Stored]:
        """Every file below `prefix/`, one after the other, never all of them in memory."""
        ...

    def folders(self, tasks: Collection[UUID]) -> Iterator[str]:
        """Keys of the folders of these tasks, whatever their songs are called: everything has to be looked through."""
        ...

    def delete(self, key: str) -> bool:
        """Remove a file, or all that lies below a folder's key. False when it may still be there; says so in the log,
        and the check for orphans finds it."""
        ...

    def attempts(self, source_name: str, task_id: UUID) -> list[int]:
        """Numbers of the attempts of a task that have left files."""
        ...

    def shown(self, key: str) -> str:
        """The key as people see it: a path or an address."""
        ...

    def incoming(self, owner: str = "api") -> AbstractContextManager[Path]:
        """A new local folder to write in; what is left in it at the end is removed."""
        ...

    def clear_incoming(self, owner: str) -> None:
        """Remove what a process of that name left when it was killed; called before it starts again."""
        ...

    def remove_abandoned(self) -> None:
        """Remove what killed processes and clients left half done, where nobody came after them."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
