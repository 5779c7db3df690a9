"""Many requests over kept connections, at full speed or at a given rate, and how long each took.

Raw HTTP/1.1: a client library would cost as much as the service that it measures. `wrk` costs still less; where it is
installed, it is what drives the service at full speed.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CONNECTIONS = 16


@dataclass(slots=True)
class Timings:
    seconds: float = 0.0
    """Of all requests together."""
    each: list[float] = field(default_factory=list)
    """Seconds of each one that was answered as it should be."""
    refused: int = 0

    @property
    def rate(self) -> float:
        return len(self.each) / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """In milliseconds."""
        ordered = sorted(self.each)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def raw(self, host: str) -> bytes:
        sent = {"Host": host, **self.headers}
        if self.body:
            sent |= {"Content-Type": "application/json", "Content-Length": str(len(self.body))}
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{self.method} {self.path} HTTP/1.1\r\n{lines}\r\n".encode() + self.body


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def open(cls, url: str) -> Connection:
        parts = urlsplit(url)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """(status, body)."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        return int(head[9:12]), await self._reader.readexactly(int(length[1])) if length else b""

    async def begin(self, request: bytes) -> int:
        """The status of an answer that goes on."""
        self._writer.write(request)
        return int((await self._reader.readuntil(b"\r\n\r\n"))[9:12])

    def close(self) -> None:
        self._writer.close()


def flat_out(url: str, calls: Sequence[Call], seconds: float, good: int = 200, connections: int = CONNECTIONS) -> float:
    """Requests a second when each connection sends as soon as it has its answer."""
    if len(calls) == 1 and calls[0].method == "GET" and shutil.which("wrk"):
        return _wrk(url, calls[0], seconds, connections)
    return asyncio.run(_flat_out(url, calls, seconds, good, connections)).rate


def at_rate(url: str, calls: Sequence[Call], rate: float, seconds: float, good: int = 200) -> Timings:
    """Requests begin at equal distances, whether or not earlier ones were answered: a wait counts as one."""
    return asyncio.run(steadily(url, calls, rate, seconds, good))


async def _flat_out(url: str, calls: Sequence[Call], seconds: float, good: int, connections: int) -> Timings:
    found = Timings()
    requests = [call.raw(urlsplit(url).netloc) for call in calls]
    began = time.perf_counter()

    async def go(place: int) -> None:
        connection = await Connection.open(url)
        while (sent := time.perf_counter()) < began + seconds:
            status, _ = await connection.ask(requests[place % len(requests)])
            _note(found, status == good, time.perf_counter() - sent)
            place += 1
        connection.close()

    await asyncio.gather(*(go(place) for place in range(connections)))
    found.seconds = time.perf_counter() - began
    return found


async def steadily(url: str, calls: Sequence[Call], rate: float, seconds: float, good: int = 200) -> Timings:
    found = Timings()
    requests = [call.raw(urlsplit(url).netloc) for call in calls]
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(4 * CONNECTIONS):
        free.put_nowait(await Connection.open(url))

    async def go(request: bytes, due: float) -> None:
        connection = await free.get()
        status, _ = await connection.ask(request)
        _note(found, status == good, time.perf_counter() - due)
        free.put_nowait(connection)

    running: set[asyncio.Task[None]] = set()
    began = time.perf_counter()
    for place in range(int(rate * seconds)):
        due = began + place / rate
        if (early := due - time.perf_counter()) > 0:
            await asyncio.sleep(early)
        task = asyncio.create_task(go(requests[place % len(requests)], due))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    found.seconds = time.perf_counter() - began
    while not free.empty():
        free.get_nowait().close()
    return found


def _note(found: Timings, good: bool, seconds: float) -> None:
    if good:
        found.each.append(seconds)
    else:
        found.refused += 1


def _wrk(url: str, call: Call, seconds: float, connections: int) -> float:
    headers = [part for name, value in call.headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", *headers, url + call.path]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said:
        raise RuntimeError(f"{call.path} was refused:\n{said}")
    return float(re.findall(r"Requests/sec:\s*([\d.]+)", said)[0])
