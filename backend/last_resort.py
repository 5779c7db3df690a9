"""Our own mistakes are answered inside the middleware that writes headers.

Starlette answers what no handler took outside of all middleware: without request id, without security headers,
and unreadable for a page of another origin.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import PublicFailure


class LastResort:
    """ASGI middleware. An answer that has begun can't become another: the server then breaks it off."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if begun:
                raise
            response = await PublicFailure.unexpected(Request(scope), error)
            await response(scope, receive, send)
