"""What is seen of every request from outside: figures, a span, a line in the log; by the route's template."""

from __future__ import annotations

import logging
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.metric.http import NO_ANSWER, NO_ROUTE, HttpFigures
from backend.rate_limit import PROBES
from backend.tracing import Tracing

log = logging.getLogger(__name__)

PREFIX = "/api/v1"
_ID = re.compile(r"[0-9a-fA-F-]{32,36}")


class Observed:
    """ASGI middleware, within the one that gives requests their ids."""

    def __init__(self, app: ASGIApp, *, figures: HttpFigures, tracing: Tracing, logs_requests: bool) -> None:
        self.app = app
        self._figures, self._tracing, self._logs_requests = figures, tracing, logs_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, size, waited = NO_ANSWER, 0, 0.0
        began = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status, size, waited
            if message["type"] == "http.response.start":
                status, waited = message["status"], time.perf_counter() - began
            else:
                size += len(message.get("body", b""))
            await send(message)

        self._figures.begun()
        try:
            if scope["path"] not in PROBES:
                with self._tracing.request(scope) as span:
                    await self.app(scope, receive, watched)
                    span.answered(route_of(scope), status)
            else:
                await self.app(scope, receive, watched)
        finally:
            self._figures.ended()
            took, route = time.perf_counter() - began, route_of(scope)
            self._figures.answered(scope["method"], route, status, waited or took, size)
            if self._logs_requests and (scope["path"] not in PROBES or status >= 500):
                _log(scope, route, status, took, size)


def route_of(scope: Scope) -> str:
    """As the document writes it, `/api/v1/tasks/{task_id}`: what is below a prefix does not know of it."""
    path: str | None = getattr(scope.get("route"), "path", None)
    if path is None:
        return NO_ROUTE
    return PREFIX + path if scope["path"].startswith(PREFIX) and not path.startswith(PREFIX) else path


def _log(scope: Scope, route: str, status: int, seconds: float, size: int) -> None:
    facts = {"method": scope["method"][:16], "route": route, "status": status, "ms": round(seconds * 1000, 1)}
    task = (scope.get("path_params") or {}).get("task_id")
    if task is not None and _ID.fullmatch(str(task)):
        facts["task"] = str(task)
    words = facts["method"], route, status, facts["ms"]
    log.info("%s %s %d in %s ms", *words, extra=facts | {"bytes": size})
