"""What browsers are told with every answer: not to guess, frame, cache or pass on; and which pages may read it.

An answer that sets one of these headers itself keeps its own.
"""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.errors import METHODS
from backend.settings import Settings

READABLE = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-ID",
    "X-Total-Count",
)
"""Response headers for pages of other origins; without a word they see a handful."""

SENDABLE = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "Range",
    "X-Request-ID",
)
PREFLIGHT_SECONDS = 600
PUBLIC = ("/docs", "/openapi.json")
"""The same for everybody: may be kept by caches."""


class SecurityHeaders:
    """ASGI middleware around everything that answers."""

    def __init__(self, app: ASGIApp, *, hsts_seconds: int = 0, embeddable: bool = False) -> None:
        self.app = app
        self._always = [
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),  # addresses hold tickets and signatures
            (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
            (b"cross-origin-resource-policy", b"cross-origin" if embeddable else b"same-origin"),
        ]
        self._personal = [*self._always, (b"cache-control", b"no-store")]
        self._https = [(b"strict-transport-security", b"max-age=%d" % hsts_seconds)] if hsts_seconds else []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                ours = self._always if scope["path"].startswith(PUBLIC) else self._personal
                if scope["scheme"] == "https":  # as a trusted proxy says it: further in than here, so read late
                    ours = ours + self._https
                headers = list(message.get("headers", ()))
                said = {name.lower() for name, _ in headers}
                message["headers"] = headers + [header for header in ours if header[0] not in said]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def install(app: FastAPI, settings: Settings) -> None:
    """After what refuses requests (limits) is added: refusals need these headers too."""
    web = settings.web
    if web.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=web.origins,
            allow_methods=METHODS,
            allow_headers=SENDABLE,
            expose_headers=READABLE,
            max_age=PREFLIGHT_SECONDS,
            allow_credentials=False,  # we set no cookies: who calls is said by a header that a page sends knowingly
        )
    # A page elsewhere plays `<audio src=signed link>` only if the answer says that it may.
    hsts_seconds = 0 if settings.development else web.hsts_seconds
    app.add_middleware(SecurityHeaders, hsts_seconds=hsts_seconds, embeddable=bool(web.origins))
