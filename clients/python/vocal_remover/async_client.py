from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx

from vocal_remover import flows
from vocal_remover.calls import Caller
from vocal_remover.effects import Alone, Close, Do, Effect, Flow, Open, Sleep, Take
from vocal_remover.patience import Patience
from vocal_remover.records import Credits, Listener, Ordered, Result, Task, Upload, Wishes
from vocal_remover.waiting import look

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same methods, to be awaited; `tasks` is for `async for`."""

    def __init__(
        self,
        base_url: str | None = None,
        key: str | None = None,
        *,
        email: str | None = None,
        password: str | None = None,
        patience: Patience | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._caller = Caller(base_url, key, email, password, patience or Patience())
        self._http = httpx.AsyncClient(transport=transport, limits=httpx.Limits(max_connections=None))
        self._alone = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def separate(
        self,
        song: str | Path,
        *,
        into: str | Path | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        on_progress: Listener | None = None,
        **wishes: Unpack[Wishes],
    ) -> Result:
        return await self._run(flows.separate(self._caller, song, into, idempotency_key, timeout, on_progress, wishes))

    async def upload(self, song: str | Path, *, on_progress: Listener | None = None) -> Upload:
        return await self._run(flows.upload(self._caller, song, on_progress))

    async def submit(
        self, song: Upload | str, *, idempotency_key: str | None = None, **wishes: Unpack[Wishes]
    ) -> Ordered:
        return await self._run(flows.submit(self._caller, song, idempotency_key, wishes))

    async def task(self, task_id: str) -> Task:
        return await self._run(look(self._caller, task_id))

    async def wait(self, task_id: str, *, timeout: float | None = None, on_progress: Listener | None = None) -> Task:
        return await self._run(flows.wait_for(self._caller, task_id, timeout, on_progress))

    async def download(
        self,
        task: Task | str,
        into: str | Path,
        *,
        stems: Sequence[str] | None = None,
        on_progress: Listener | None = None,
    ) -> dict[str, Path]:
        return await self._run(flows.download(self._caller, task, into, stems, on_progress))

    async def cancel(self, task_id: str) -> Task:
        return await self._run(flows.cancel(self._caller, task_id))

    async def tasks(self, status: str | None = None, *, page_size: int = 100) -> AsyncIterator[Task]:
        cursor = None
        while True:
            rows, cursor = await self._run(flows.page(self._caller, status, cursor, page_size))
            for row in rows:
                yield row
            if cursor is None:
                return

    async def credits(self) -> Credits:
        return await self._run(flows.credit(self._caller))

    async def _run(self, flow: Flow[T]) -> T:
        async with aclosing(_Runner(self._http, self._alone)) as runner:
            return await runner.run(flow)


class _Runner:
    """Does what one flow asks for."""

    def __init__(self, http: httpx.AsyncClient, alone: asyncio.Lock) -> None:
        self._http = http
        self._alone = alone
        self._open: dict[httpx.Response, AsyncIterator[bytes]] = {}
        self._broken: dict[httpx.Response, httpx.TransportError] = {}
        """Answers whose last bytes were given out before it was said that no more will come."""

    async def run(self, flow: Flow[T]) -> T:
        step: Callable[[Any], Effect] = flow.send
        given: Any = None
        while True:
            try:
                effect = step(given)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                step, given = flow.send, await self.do(effect)
            except BaseException as error:
                step, given = flow.throw, error

    async def do(self, effect: Effect) -> Any:
        match effect:
            case Open(request, whole):
                response = await self._http.send(request, stream=True)
                self._open[response] = response.aiter_raw()
                if whole or not response.is_success:
                    await response.aread()
                    await self._close(response)
                return response
            case Take(response, together):
                return await self._take(response, together)
            case Close(response):
                return await self._close(response)
            case Sleep(seconds):
                return await asyncio.sleep(seconds)
            case Do(work):
                return await asyncio.to_thread(work)
            case Alone(flow):
                async with self._alone:
                    return await self.run(flow)

    async def _take(self, response: httpx.Response, together: int) -> bytes | None:
        """A piece of 64 KB takes as long to be handed to a thread as to be written there."""
        if response in self._broken:
            raise self._broken.pop(response)
        pieces, size = list[bytes](), 0
        try:
            while size < together and (piece := await anext(self._open[response], None)) is not None:
                pieces.append(piece)
                size += len(piece)
        except httpx.TransportError as error:
            if not pieces:
                raise
            self._broken[response] = error
        return b"".join(pieces) or None

    async def aclose(self) -> None:
        for response in list(self._open):
            await self._close(response)

    async def _close(self, response: httpx.Response) -> None:
        self._open.pop(response, None)
        await response.aclose()
