"""How somebody's requests get to the service: from an address of their own, each of them noted."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx

POLITE = (429, 503)
PIECES = 200
"""In so many a slow sender's song arrives."""
_ID = re.compile(r"/[0-9a-f-]{36}")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: from its first byte out to the first byte of the answer."""

    route: str
    status: int
    """0: the connection failed."""
    seconds: float
    retry_after: bool = False

    @property
    def polite(self) -> bool:
        """Refused in a way that says when to come again."""
        return self.status in POLITE and self.retry_after

    @property
    def wrong(self) -> bool:
        return not (200 <= self.status < 400 or self.polite)


def address(place: int) -> str:
    """Of the machine itself; as far as its limits know, of somebody else for each place."""
    return f"127.77.{1 + place // 250}.{1 + place % 250}"


class Way(httpx.AsyncBaseTransport):
    def __init__(self, place: int, slowly: float = 0.0) -> None:
        """`slowly`: seconds that a song takes to be sent."""
        self.asked: list[Asked] = []
        self._inner = httpx.AsyncHTTPTransport(local_address=address(place))
        self._slowly = slowly

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        route = f"{request.method} {_ID.sub('/{id}', request.url.path.removeprefix('/api/v1'))}"
        if self._slowly and route == "POST /uploads":
            assert isinstance(request.stream, httpx.AsyncByteStream)
            length = int(request.headers["Content-Length"])
            request.stream = _Trickle(request.stream, length, self._slowly)
        began = time.perf_counter()
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError:
            self.asked.append(Asked(route, 0, time.perf_counter() - began))
            raise
        told = "retry-after" in response.headers
        self.asked.append(Asked(route, response.status_code, time.perf_counter() - began, told))
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Trickle(httpx.AsyncByteStream):
    """A body in small pieces over a long time."""

    def __init__(self, body: httpx.AsyncByteStream, length: int, seconds: float) -> None:
        self._body, self._pause = body, seconds / PIECES
        self._piece = max(1, length // PIECES)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for given in self._body:
            for start in range(0, len(given), self._piece):
                yield given[start : start + self._piece]
                await asyncio.sleep(self._pause)
