"""A real HTTP server of published archives that misbehaves as it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Behaviour = Callable[["Handler", bytes], None]


@dataclass
class Release:
    """Serves `content` under every path. Behaviours are used up one for each request; then all is well."""

    content: bytes = b""
    etag: str | None = '"first"'
    ranges: bool = True
    behaviours: list[Behaviour] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    release: Release

    def do_GET(self) -> None:
        release = self.release
        release.requests.append(dict(self.headers.items()))
        release.paths.append(self.path)
        behaviour = release.behaviours.pop(0) if release.behaviours else answer()
        with suppress(ConnectionError):  # a client that has heard enough hangs up
            behaviour(self, release.content)
        self.close_connection = True

    def begin(self, content: bytes, content_length: int | None = None) -> bytes:
        """Send status and headers, honouring Range; returns the bytes to send."""
        start = 0
        wanted = self.headers.get("Range")
        current = self.headers.get("If-Range") in (None, self.release.etag)
        if wanted and self.release.ranges and current:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.release.etag:
            self.send_header("ETag", self.release.etag)
        rest = content[start:]
        self.send_header("Content-Length", str(len(rest) if content_length is None else content_length))
        self.end_headers()
        return rest

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@contextmanager
def serve(release: Release) -> Iterator[Release]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"release": release}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    release.url = f"http://127.0.0.1:{server.server_address[1]}/v1/tiny.tar.gz"
    try:
        yield release
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(*, content: bytes | None = None, content_length: int | None = None) -> Behaviour:
    """All bytes (or other ones), with a true Content-Length or that one."""

    def behave(handler: Handler, published: bytes) -> None:
        handler.wfile.write(handler.begin(content or published, content_length))

    return behave


def cut(after: int) -> Behaviour:
    """Closes the connection after so many bytes."""

    def behave(handler: Handler, published: bytes) -> None:
        handler.wfile.write(handler.begin(published)[:after])

    return behave


def pause(after: int, seconds: float) -> Behaviour:
    """Sends so many bytes, nothing for a while, then the rest, if anyone still listens."""

    def behave(handler: Handler, published: bytes) -> None:
        rest = handler.begin(published)
        handler.wfile.write(rest[:after])
        time.sleep(seconds)
        handler.wfile.write(rest[after:])

    return behave


def status(code: int, location: str | None = None) -> Behaviour:
    def behave(handler: Handler, published: bytes) -> None:
        handler.send_response(code)
        if location is not None:
            handler.send_header("Location", location)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return behave
