"""A song on its way: the multipart body of an upload, read from disk as it is sent."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

import httpx

from vocal_remover.errors import SongChanged
from vocal_remover.records import Listener, Progress

PIECE = 1 << 18


class SongBody(httpx.SyncByteStream, httpx.AsyncByteStream):
    """May be sent again: each time it starts from the beginning."""

    def __init__(self, song: Path, size: int, listener: Listener) -> None:
        boundary = uuid.uuid4().hex
        # A quoted string (RFC 9110, 5.6.4), which the service takes apart again; it refuses names with line ends.
        name = song.name.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "%0D").replace("\n", "%0A")
        self._head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode("utf-8", "surrogateescape")
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        self._song, self._size, self._tell = song, size, listener
        self._digest = hashlib.sha256()
        self._sent = 0
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._head) + size + len(self._tail)),
        }

    @property
    def sha256(self) -> str | None:
        """Of the song as it was sent the last time; None when not all of it was."""
        return self._digest.hexdigest() if self._sent == self._size else None

    def begin(self) -> None:
        """Forget what an earlier attempt sent."""
        self._digest, self._sent = hashlib.sha256(), 0

    def __iter__(self) -> Iterator[bytes]:
        self.begin()
        with self._song.open("rb") as file:
            yield self._head
            while piece := self._piece(file):
                yield self._counted(piece)
            yield self._tail

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.begin()
        file = await asyncio.to_thread(self._song.open, "rb")
        try:
            yield self._head
            while piece := await asyncio.to_thread(self._piece, file):
                yield self._counted(piece)
            yield self._tail
        finally:
            file.close()

    def _piece(self, file: BinaryIO) -> bytes:
        piece = file.read(PIECE)
        self._digest.update(piece)
        self._sent += len(piece)
        if self._sent > self._size or (not piece and self._sent < self._size):
            raise SongChanged(f"{self._song} changed while it was sent.")
        return piece

    def _counted(self, piece: bytes) -> bytes:
        self._tell(Progress("uploading", self._sent / self._size))
        return piece
