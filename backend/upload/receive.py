"""A multipart body on its way to disk: never held in memory, refused as soon as it is too large."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from anyio import fail_after, move_on_after
from fastapi import Request

from backend.problem import Problem
from backend.threads import in_thread
from backend.upload.form_data import (
    BaseTarget,
    ParseFailedException,
    StreamingFormDataParser,
    UnexpectedPartException,
)
from backend.upload.received import ReceivedFile, UploadTooLarge, too_large

FIELD = "file"
FLUSH_BYTES = 1 << 18
"""In memory, of each song that is arriving."""
SILENCE_SECONDS = 60.0
"""After which a sender that sends nothing makes room for others."""
DRAIN_BYTES = 64 << 20
DRAIN_SECONDS = 5.0
MULTIPART_OVERHEAD = 16_384
"""Boundary and part headers: how much longer than its file an honest body may be."""


class UploadMalformed(Problem):
    status = 422
    code = "upload_malformed"
    detail = f"The body must be multipart/form-data with one part named {FIELD!r} that has a file name."
    advice = "With curl: -F file=@song.mp3"


class UploadStalled(Problem):
    status = 408
    code = "upload_stalled"
    detail = f"Nothing more of the body came for {SILENCE_SECONDS:g} seconds."
    advice = "Send it again, over a connection that holds."


class _FileTarget(BaseTarget):
    def __init__(self, path: Path, max_bytes: int) -> None:
        super().__init__()
        self.size = 0
        self.digest = hashlib.sha256()
        self.complete = False
        self._path = path
        self._max_bytes = max_bytes
        self._file: BinaryIO | None = None

    def on_start(self) -> None:
        if self._file is not None:
            raise UploadMalformed("The body has more than one file.")
        self._file = self._path.open("wb")

    def on_data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._max_bytes:
            raise too_large(self._max_bytes)
        assert self._file is not None
        self._file.write(chunk)
        self.digest.update(chunk)

    def on_finish(self) -> None:
        self.close()
        self.complete = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


async def receive_file(request: Request, path: Path, max_bytes: int) -> ReceivedFile:
    """Write the one file of a multipart body to `path`; raises UploadTooLarge, UploadMalformed, UploadStalled."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > max_bytes + MULTIPART_OVERHEAD:
        await drain(request)
        raise too_large(max_bytes)
    target = _FileTarget(path, max_bytes)
    try:
        parser = StreamingFormDataParser(headers=dict(request.headers), strict=True)
        parser.register(FIELD, target)
        await _feed(request, parser, target)
    except UnexpectedPartException as error:
        raise UploadMalformed(f"Unknown field {error.part_name!r}: only {FIELD!r} is known.") from error
    except (ParseFailedException, ValueError) as error:  # the latter: headers that are no UTF-8, or have line breaks
        raise UploadMalformed from error
    except UploadTooLarge:
        await drain(request)
        raise
    finally:
        target.close()
    if not target.complete or target.multipart_filename is None:
        raise UploadMalformed
    return ReceivedFile(target.multipart_filename, target.size, target.digest.hexdigest())


async def _feed(request: Request, parser: StreamingFormDataParser, target: _FileTarget) -> None:
    """In pieces, each parsed and written in a thread: the event loop does no file I/O."""
    pieces: list[bytes] = []
    size = total = 0

    async def flush() -> None:
        nonlocal pieces, size, total
        total += size
        await in_thread(parser.data_received, b"".join(pieces))
        pieces, size = [], 0
        # The parser keeps headers in memory until they end; an honest body is its file and little more.
        if total - target.size > MULTIPART_OVERHEAD:
            raise UploadMalformed("The body has far more around its file than a form needs.")

    stream = aiter(request.stream())
    while True:
        try:
            with fail_after(SILENCE_SECONDS):
                piece = await anext(stream, None)
        except TimeoutError:
            raise UploadStalled from None
        if piece is None:
            break
        pieces.append(piece)
        size += len(piece)
        if size >= FLUSH_BYTES:
            await flush()
    if size:
        await flush()


async def drain(request: Request) -> None:
    """Read on for a while: a client that is still sending would see a broken pipe instead of our answer."""
    left = DRAIN_BYTES
    with move_on_after(DRAIN_SECONDS):
        async for piece in request.stream():
            left -= len(piece)
            if left < 0:
                break
