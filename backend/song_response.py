"""A file with Range as RFC 9110 has it: what is no range is as if unsaid, and a refusal is a problem body.

It comes from a folder, or piece by piece from the storage; or the storage gives it itself, by a link.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from fastapi.responses import FileResponse, RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from backend.errors import problem_response
from backend.storage import Storage

_RANGE = re.compile(r"\s*(\d{1,18})\s*-\s*(\d{1,18})?\s*|\s*-\s*\d{1,18}\s*", re.ASCII)
RANGE_NOT_SATISFIABLE = 416
TEMPORARY_REDIRECT = 307


def song_response(
    storage: Storage,
    key: str,
    *,
    method: str,
    size: int,
    modified: datetime,
    media_type: str,
    filename: str,
    headers: dict[str, str],
) -> Response:
    """A stored file of so many bytes, under the name that it is to be saved by."""
    # A link is signed for one method: what a HEAD asks for is known here.
    link = storage.link(key, filename, media_type) if method == "GET" else None
    if link is not None:
        return RedirectResponse(link, TEMPORARY_REDIRECT)
    about: dict[str, Any] = {"media_type": media_type, "filename": filename, "headers": headers}
    place = storage.place(key)
    if place is not None:
        return SongResponse(place, **about)
    storage.size(key)  # refused now, when the storage is away, rather than cut off
    return _RemoteSongResponse(storage, key, size, modified, **about)


class SongResponse(FileResponse):
    chunk_size = 1 << 18
    """Each piece is read in a thread: with Starlette's 64 KiB, a crowd that fetches stems costs twice the CPU."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused: str | None = None

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and message["status"] == RANGE_NOT_SATISFIABLE:
                refused = Headers(raw=message["headers"])["content-range"]
            if refused is None:
                await send(message)

        if not _well_formed(Headers(scope=scope).get("range", "")):
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"range"]}
        await super().__call__(scope, receive, send_unless_refused)
        if refused is not None:
            response = problem_response(
                Request(scope),
                RANGE_NOT_SATISFIABLE,
                "range_not_satisfiable",
                "The file ends before the range begins.",
                "Content-Range says how long the file is.",
                headers={"Content-Range": refused},
            )
            await response(scope, receive, send)


class _RemoteSongResponse(SongResponse):
    """The same from a storage that has no folder here: the framework reads it as it would read a file."""

    def __init__(self, storage: Storage, key: str, size: int, modified: datetime, **about: Any) -> None:
        about["stat_result"] = os.stat_result((stat.S_IFREG, 0, 0, 1, 0, 0, size, *(int(modified.timestamp()),) * 3))
        super().__init__(key, **about)
        self._storage, self._key = storage, key

    @asynccontextmanager
    async def _open_file(self) -> AsyncIterator[Any]:
        file = _RemoteFile(self._storage, self._key)
        try:
            yield file
        finally:
            await file.aclose()


class _RemoteFile:
    """Read from where it was last sent to, by one request to the storage."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key
        self._pieces: Iterator[bytes] = iter(())
        self._left = b""
        self._start: int | None = 0

    async def seek(self, start: int) -> None:
        await self.aclose()
        self._start, self._left = start, b""

    async def read(self, size: int) -> bytes:
        if self._start is not None:
            self._pieces, self._start = self._storage.read(self._key, self._start), None
        if not self._left:
            self._left = await run_in_threadpool(next, self._pieces, b"")
        piece, self._left = self._left[:size], self._left[size:]
        return piece

    async def aclose(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            await run_in_threadpool(close)


def _well_formed(ranges: str) -> bool:
    unit, _, listed = ranges.partition("=")
    if unit.strip().lower() != "bytes":
        return False
    for part in listed.split(","):
        found = _RANGE.fullmatch(part)
        if found is None or (found[2] and int(found[1]) > int(found[2])):
            return False
    return True
