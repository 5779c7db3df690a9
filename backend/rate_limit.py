"""How often somebody may knock.

Every request but a probe counts for its client address; once it is known who asks, for the person, for the API
key and for the tenant as well. Logging in and submitting have limits of their own (slowapi's decorators). Each
answer says where its sender stands: `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import functools
import inspect
import ipaddress
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from limits import RateLimitItem, parse_many
from limits.strategies import RateLimiter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend.errors import problem_response
from backend.problem import Problem
from backend.rate_counters import PATIENCE_SECONDS, SteadyStorage
from backend.rate_windows import Ask, MemoryWindows, take
from backend.settings import Settings
from backend.settings.usage import Limit
from backend.threads import Lane
from backend.wiring import Wiring

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

PROBES = frozenset({"/healthz", "/readyz", "/health", "/metrics"})
"""An orchestrator's question must be answered, however often it is asked."""

COUNTING_THREADS = 8
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is left to somebody under one policy."""

    policy: str
    quota: int
    window: int
    left: int
    seconds: int
    """Until there is more."""


class TooManyRequests(Problem):
    status = 429
    code = "too_many_requests"

    def __init__(self, standing: Standing) -> None:
        super().__init__(f"Too many requests: {standing.quota} in {standing.window} seconds are allowed.")
        self.standing = standing
        seconds = max(1, standing.seconds)
        self.headers = {"Retry-After": str(seconds)}
        self.wait = f"Wait {seconds} seconds, then send the same request again."


class RateLimits:
    """Decorators for endpoints (each a `def` that takes `request: Request`), and counts for everything else."""

    def __init__(self, wiring: Wiring) -> None:
        settings = wiring.settings
        self._wiring = wiring
        self._slow = Limiter(key_func=_address, strategy="moving-window", **_storage(settings))
        # For the wide limits sliding counters, not a list of times: thousands cost no more than ten.
        self._storage = self._slow.limiter.storage
        self._lane: Lane | None = None

    @property
    def _limit(self) -> Limit:
        """As it is in force now."""
        return self._wiring.settings.limit

    def login(self, endpoint: Endpoint) -> Endpoint:
        """By client address, over all the ways to log in together."""
        return self._shared(endpoint, lambda: self._limit.login, "login", _address)

    def separate(self, endpoint: Endpoint) -> Endpoint:
        """By user, over all ways to submit together; one request with many songs counts once.

        Repeating a request that was answered under its Idempotency-Key counts nothing.
        """
        return self._shared(endpoint, lambda: self._limit.separate, "separate", _by_user, _answered_before)

    def transfer(self, endpoint: Endpoint) -> Endpoint:
        """By user: giving credits away."""
        return self._shared(endpoint, lambda: self._limit.transfer, "transfer", _by_user)

    def install(self, app: FastAPI) -> None:
        """Before the middleware that gives requests their ids is added: that has to stand around this."""
        app.state.limiter = self._slow
        app.state.rate_limits = self
        app.add_exception_handler(TooManyRequests, too_many)
        app.add_middleware(CountRequests, limits=self)
        if self._limit.trusted_proxies:
            app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=self._limit.trusted_proxies)

    def count(self, request: Request, *windows: Ask) -> None:
        """Raises TooManyRequests. May wait for the shared store: not for the event loop."""
        standings = _standings(request)
        for ask, told in zip(windows, take(self._storage, windows), strict=False):
            standing = Standing(ask.name, ask.item.amount, ask.item.get_expiry(), told.left, _whole(told.seconds))
            standings.append(standing)
            if not told.allowed:
                raise TooManyRequests(standing)

    def windows(self, policy: str, who: str, instead: str | None = None) -> list[Ask]:
        """Those of somebody under a policy; `instead` is a limit in place of the one in the settings."""
        limit = instead or getattr(self._limit, policy)
        return [Ask(name, item, policy, who) for name, item in _windows(policy, limit)]

    async def count_address(self, request: Request) -> None:
        """Raises TooManyRequests."""
        windows = self.windows("address", _address(request))
        if self._limit.storage == "memory://":
            self.count(request, *windows)
            return
        # Threads of their own: those of the endpoints may all be busy just when it matters to refuse quickly.
        self._lane = self._lane or Lane(threads=COUNTING_THREADS)
        await self._lane.run(functools.partial(self.count, request, *windows))

    def close(self) -> None:
        store = self._storage
        close = getattr(store.shared if isinstance(store, SteadyStorage) else store, "close", None)
        if close is not None:
            close()

    def _shared(
        self,
        endpoint: Endpoint,
        limit: Callable[[], str],
        scope: str,
        key: Callable[[Request], str],
        exempt_when: Callable[[Request], bool] | None = None,
    ) -> Endpoint:
        # slowapi would ask its store in the event loop.
        assert not inspect.iscoroutinefunction(endpoint), "limited endpoints run in a thread"

        @functools.wraps(endpoint)
        def passed(*args: Any, **kwargs: Any) -> Any:
            request: Request = kwargs["request"]
            if getattr(request.state, "view_rate_limit", None) is not None:  # it is not exempt
                self._note(request, scope)
            return endpoint(*args, **kwargs)

        limited = self._slow.shared_limit(limit, scope=scope, key_func=key, exempt_when=exempt_when)(passed)

        @functools.wraps(endpoint)
        def knock(*args: Any, **kwargs: Any) -> Any:
            try:
                return limited(*args, **kwargs)
            except RateLimitExceeded:
                raise TooManyRequests(self._note(kwargs["request"], scope)) from None

        return cast(Endpoint, knock)

    def _note(self, request: Request, policy: str) -> Standing:
        """What slowapi has just found out."""
        item, identifiers = request.state.view_rate_limit
        standing = _standing(self._slow.limiter, policy, item, *identifiers)
        _standings(request).append(standing)
        return standing


class CountRequests:
    """ASGI middleware: counts a request for its address, and writes where its sender stands into the answer."""

    def __init__(self, app: ASGIApp, limits: RateLimits) -> None:
        self.app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self.app(scope, receive, send)
            return
        request = Request(scope)

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in fields(_standings(request)):
                    headers[name] = value
            await send(message)

        try:
            await self._limits.count_address(request)
        except TooManyRequests as refusal:
            response = await too_many(request, refusal)
            await response(scope, receive, send_with_standing)
        else:
            await self.app(scope, receive, send_with_standing)


def count_caller(
    request: Request, user_id: UUID, tenant_id: UUID, key_id: UUID | None = None, tenant_limit: str | None = None
) -> None:
    """Once it is known who asks; raises TooManyRequests. A key counts for its owner, too.

    `tenant_limit` is a tenant's own, in place of the one in the settings.
    """
    limits: RateLimits = request.app.state.rate_limits
    keys = limits.windows("key", str(key_id)) if key_id is not None else ()
    people = limits.windows("user", str(user_id))
    limits.count(request, *keys, *people, *limits.windows("tenant", str(tenant_id), tenant_limit))


async def too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooManyRequests)
    more = {"type": QUOTA_EXCEEDED, "violated-policies": [error.standing.policy]}
    headers = dict(error.headers)
    return problem_response(request, 429, error.code, str(error), error.wait, headers=headers, **more)


def fields(standings: list[Standing]) -> Iterator[tuple[str, str]]:
    """The two response fields: lists of structured-field strings with parameters."""
    if standings:
        yield "RateLimit-Policy", ", ".join(f'"{each.policy}";q={each.quota};w={each.window}' for each in standings)
        yield "RateLimit", ", ".join(f'"{each.policy}";r={each.left};t={each.seconds}' for each in standings)


def _standings(request: Request) -> list[Standing]:
    found: list[Standing] | None = getattr(request.state, "standings", None)
    if found is None:
        request.state.standings = found = []
    return found


def _standing(limiter: RateLimiter, name: str, item: RateLimitItem, *identifiers: str) -> Standing:
    reset, left = limiter.get_window_stats(item, *identifiers)
    return Standing(name, item.amount, item.get_expiry(), max(0, left), _whole(reset - time.time()))


def _whole(seconds: float) -> int:
    """Rounded up, and at a whole second to the next: who comes exactly then would be a moment early."""
    return max(0, int(seconds) + 1)


@functools.lru_cache(maxsize=1000)
def _windows(policy: str, limit: str) -> list[tuple[str, RateLimitItem]]:
    """A limit may have several windows (`10 per second; 200 per minute`): each is a policy of its own."""
    items = parse_many(limit)
    return [(policy if len(items) == 1 else f"{policy}-{item.get_expiry()}s", item) for item in items]


def _storage(settings: Settings) -> dict[str, Any]:
    """slowapi's arguments. A store that others share is kept behind one that survives its absence."""
    shared = settings.limit.storage
    if shared == "memory://":
        return {"storage_uri": f"{MemoryWindows.STORAGE_SCHEME[0]}://"}
    options: dict[str, Any] = {"shared": shared}
    if shared == "sqlite://":
        options["shared"] = f"sqlite://{(settings.data_dir / 'limits.db').absolute()}"
    elif shared.startswith("redis"):
        options |= {"socket_connect_timeout": PATIENCE_SECONDS, "socket_timeout": PATIENCE_SECONDS}
    return {"storage_uri": "steady://", "storage_options": options}


def _address(request: Request) -> str:
    """The client's address; of IPv6 the network of 64 bits, of which one customer has all addresses."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host or "unknown"
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def _by_user(request: Request) -> str:
    return str(request.state.caller.user_id)


def _answered_before(request: Request) -> bool:
    return getattr(request.state, "answered_before", False)
