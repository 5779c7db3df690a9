"""A server between client and service that does what networks and proxies do: cut, lose, refuse, fall silent."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

HOP_BY_HOP = {"connection", "transfer-encoding", "keep-alive", "host", "date", "server"}
Fault = Callable[["_Handler"], None]


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FaultyWay:
    upstream: str
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    keeps_host: bool = False
    """For services that check what their address was called: signatures of S3 hold it."""
    closing: threading.Event = field(default_factory=threading.Event)
    _faults: list[tuple[re.Pattern[str], list[Fault]]] = field(default_factory=list)

    def on(self, pattern: str, *faults: Fault) -> None:
        """What happens to the first, second, … request whose `METHOD path` matches; later ones go through."""
        self._faults.append((re.compile(pattern), list(faults)))

    def fault(self, line: str) -> Fault | None:
        for pattern, faults in self._faults:
            if pattern.search(line) and faults:
                return faults.pop(0)
        return None

    def count(self, pattern: str) -> int:
        return len(self.requests(pattern))

    def requests(self, pattern: str) -> list[Asked]:
        return [asked for asked in self.asked if re.search(pattern, f"{asked.method} {asked.path}")]


class _Handler(BaseHTTPRequestHandler):
    way: FaultyWay

    def handle_request(self) -> None:
        way = self.way
        way.asked.append(Asked(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}))
        with suppress(BrokenPipeError, ConnectionResetError):
            (way.fault(f"{self.command} {self.path}") or relay)(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_request

    def log_message(self, *_: Any) -> None:
        pass

    @contextmanager
    def forwarded(self, spoil: Callable[[bytes], bytes] = lambda body: body) -> Iterator[httpx.Response]:
        body = spoil(self.rfile.read(int(self.headers.get("content-length", 0))))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP}
        if self.way.keeps_host:
            headers["Host"] = self.headers["host"]
        with (
            httpx.Client(base_url=self.way.upstream, timeout=60, trust_env=False) as client,
            client.stream(self.command, self.path, headers=headers, content=body) as answer,
        ):
            yield answer

    def begin(self, answer: httpx.Response) -> None:
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.end_headers()


def relay(handler: _Handler, spoil: Callable[[bytes], bytes] = lambda piece: piece) -> None:
    with handler.forwarded() as answer:
        handler.begin(answer)
        for piece in answer.iter_raw():
            handler.wfile.write(spoil(piece))
            handler.wfile.flush()
            if handler.way.closing.is_set():
                return


def spoil(handler: _Handler) -> None:
    """Every byte arrives, and is another."""
    relay(handler, lambda piece: bytes(byte ^ 1 for byte in piece))


def spoil_request(handler: _Handler) -> None:
    """One bit of what is sent is another when it arrives."""
    with handler.forwarded(lambda body: body[:-1] + bytes([body[-1] ^ 1])) as answer:
        handler.begin(answer)
        handler.wfile.write(answer.read())


def lose_answer(handler: _Handler) -> None:
    """The service does it, and nobody hears of it."""
    with handler.forwarded() as answer:
        answer.read()


def refuse(status: int, **headers: str) -> Fault:
    """Instead of the service, as a proxy: with a body that is no problem body."""

    def answer(handler: _Handler) -> None:
        handler.rfile.read(int(handler.headers.get("content-length", 0)))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "4")
        handler.end_headers()
        handler.wfile.write(b"<p>!")

    return answer


def cut_request(handler: _Handler) -> None:
    """After a few of its bytes."""
    handler.rfile.read(1000)


def cut_answer(after: int) -> Fault:
    def answer(handler: _Handler) -> None:
        left = after
        with handler.forwarded() as upstream:
            handler.begin(upstream)
            for piece in upstream.iter_raw():
                handler.wfile.write(piece[:left])
                handler.wfile.flush()
                left -= len(piece)
                if left <= 0:
                    return

    return answer


def cut_after(mark: bytes) -> Fault:
    def answer(handler: _Handler) -> None:
        sent = b""
        with handler.forwarded() as upstream:
            handler.begin(upstream)
            for piece in upstream.iter_raw():
                head, found, _ = (sent + piece).partition(mark)
                handler.wfile.write((head + found)[len(sent) :])
                handler.wfile.flush()
                if found:
                    return
                sent += piece

    return answer


def mute(handler: _Handler) -> None:
    """A proxy that keeps what it gets to itself."""
    handler.send_response(200)
    handler.send_header("Content-Type", "text/event-stream")
    handler.end_headers()
    handler.wfile.flush()
    handler.way.closing.wait(60)


@contextmanager
def faulty_way(upstream: str, *, keeps_host: bool = False) -> Iterator[FaultyWay]:
    way = FaultyWay(upstream, keeps_host=keeps_host)
    handler = type("Handler", (_Handler,), {"way": way})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    way.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield way
    finally:
        way.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
