"""How often somebody may knock: slowapi, counting in memory or in Redis.

Only decorated routes are limited. Counters of several API processes must live in Redis; when it is away,
each process counts by itself until it is back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address

from backend.errors import problem_response
from backend.settings import Limit

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class RateLimits:
    """Decorators for endpoints (each must take `request: Request`)."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._limiter = Limiter(
            key_func=get_remote_address,
            storage_uri=limit.storage,
            strategy="moving-window",
            in_memory_fallback_enabled=not limit.storage.startswith("memory"),
        )

    def login(self, endpoint: Endpoint) -> Endpoint:
        """By client address, over all the ways to log in together."""
        return self._shared(endpoint, self._limit.login, "login", get_remote_address)

    def separate(self, endpoint: Endpoint) -> Endpoint:
        """By user, over all ways to submit together; one request with many songs counts once.

        Repeating a request that was answered under its Idempotency-Key counts nothing.
        """
        return self._shared(endpoint, self._limit.separate, "separate", _by_user, _answered_before)

    def install(self, app: FastAPI) -> None:
        app.state.limiter = self._limiter
        app.add_exception_handler(RateLimitExceeded, self._exceeded)

    def _shared(
        self,
        endpoint: Endpoint,
        limit: str,
        scope: str,
        key: Callable[[Request], str],
        exempt_when: Callable[[Request], bool] | None = None,
    ) -> Endpoint:
        shared = self._limiter.shared_limit(limit, scope=scope, key_func=key, exempt_when=exempt_when)
        limited: Endpoint = shared(endpoint)
        return limited

    async def _exceeded(self, request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RateLimitExceeded)
        item, arguments = request.state.view_rate_limit
        reset = self._limiter.limiter.get_window_stats(item, *arguments).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        return problem_response(
            request,
            429,
            "too_many_requests",
            f"Too many requests: {item.amount} in {item.get_expiry()} seconds are allowed.",
            f"Wait {seconds} seconds, then send the same request again.",
            headers={"Retry-After": str(seconds)},
        )


def _by_user(request: Request) -> str:
    return str(request.state.caller.user_id)


def _answered_before(request: Request) -> bool:
    return getattr(request.state, "answered_before", False)
