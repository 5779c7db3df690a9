"""Dependencies of the endpoints: the wiring, a session that reads, one that is committed before the answer is sent."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Iterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends
from fastapi.dependencies.models import Dependant
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from backend.db import ReadingSession
from backend.threads import in_thread
from backend.wiring import Wiring

Told = TypeVar("Told")


async def _wiring(connection: HTTPConnection) -> Wiring:
    wiring: Wiring = connection.app.state.wiring
    return wiring


WiringOf = Annotated[Wiring, Depends(_wiring)]


async def _read(wiring: WiringOf) -> Session:
    return wiring.database.reader()


def _write(wiring: WiringOf) -> Iterator[Session]:
    with wiring.database.write() as session:
        yield session


Reading = Annotated[Session, Depends(_read)]
"""For `def` endpoints, not for dependencies: `answer_in_threads` ends it when the endpoint has answered."""
# scope="function": by default FastAPI would commit after the answer has left.
Writing = Annotated[Session, Depends(_write, scope="function")]


def answer_in_threads(router: APIRouter) -> APIRouter:
    """Its `def` endpoints run in a thread of `backend.threads`, from the first statement to the end of their session.

    FastAPI takes a thread for each step: to open a session, to call, to check the answer, to close the session.
    """
    for route in router.routes:
        if not isinstance(route, APIRoute):
            raise TypeError("a router within a router would keep its sessions open: include each in the app itself")
        blocks = not (inspect.iscoroutinefunction(route.endpoint) or inspect.isasyncgenfunction(route.endpoint))
        done = hasattr(route.endpoint, "__wrapped__")  # routers are shared by the apps of a process
        if not _ends_sessions(route.dependant, blocks or done):
            raise TypeError(f"{route.path}: what is no `def` endpoint opens its own session with `database.read()`")
        if blocks:
            route.endpoint = _threaded(route.endpoint)
    return router


def _ends_sessions(dependant: Dependant, threaded: bool) -> bool:
    """Whether everything that takes `Reading` is an endpoint of ours."""
    return all(
        (threaded or each.call is not _read) and _ends_sessions(each, threaded=False) for each in dependant.dependencies
    )


def _threaded(endpoint: Callable[..., Told]) -> Callable[..., Coroutine[Any, Any, Told]]:
    def answer(values: dict[str, Any]) -> Told:
        try:
            return endpoint(**values)
        finally:
            for value in values.values():
                if isinstance(value, ReadingSession):
                    value.close()

    @functools.wraps(endpoint)
    async def threaded(**values: Any) -> Told:
        return await in_thread(answer, values)

    return threaded
