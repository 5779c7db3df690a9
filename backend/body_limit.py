"""Bodies that are held in memory (JSON, forms) stay small; songs are streamed to disk under a limit of their own."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BYTES = 1 << 20
STREAMED = ("POST", "/api/v1/uploads")


class BodyLimit:
    """ASGI middleware. What is too long is refused while it is read, whatever Content-Length says."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) == STREAMED:
            await self.app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        left = MAX_BYTES

        async def receive_some() -> Message:
            nonlocal left
            if declared.isdigit() and int(declared) > MAX_BYTES:
                raise _too_large()
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise _too_large()
            return message

        await self.app(scope, receive_some, send)


def _too_large() -> HTTPException:
    # Of this class, because FastAPI makes any other error while a body is read a 400 of its own.
    return HTTPException(413, f"The body is larger than {MAX_BYTES} bytes")
