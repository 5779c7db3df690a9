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
from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from fastapi import FastAPI, Request
from limits import RateLimitItem, parse_many
from limits.strategies import RateLimiter
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from backend.rate_counters import PATIENCE_SECONDS, SteadyStorage
from backend.rate_standing import Standing, TooManyRequests, fields, standings_of, too_many, whole_seconds
from backend.rate_windows import Ask, MemoryWindows, take
from backend.settings import Settings
from backend.settings.usage import Limit
from backend.threads import Lane
from backend.wiring import Wiring

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])

PROBES = frozenset({"/healthz", "/readyz", "/health", "/metrics"})
"""An orchestrator's question must be answered, however often it is asked."""

COUNTING_THREADS = 8
FULL_SECONDS, MOST_FULL = 1.0, 10_000


class RateLimits:
    """Decorators for endpoints (each a `def` that takes `request: Request`), and counts for everything else."""

    def __init__(self, wiring: Wiring) -> None:
        settings = wiring.settings
        self._wiring = wiring
        self._slow = Limiter(key_func=_address, strategy="moving-window", **_storage(settings))
        # For the wide limits sliding counters, not a list of times: thousands cost no more than ten.
        self._storage = self._slow.limiter.storage
        self._lane: Lane | None = None
        self._full: dict[str, tuple[float, Standing]] = {}
        """By address that was refused lately: until when it need not be counted again."""

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
        standings = standings_of(request)
        for ask, told in zip(windows, take(self._storage, windows), strict=False):
            seconds = whole_seconds(told.seconds)
            standing = Standing(ask.name, ask.item.amount, ask.item.get_expiry(), told.left, seconds)
            standings.append(standing)
            if not told.allowed:
                if ask.policy == "address" and self._limit.storage != "memory://":
                    self._remember(ask.who, standing)
                raise TooManyRequests(standing)

    def _remember(self, address: str, standing: Standing) -> None:
        """For a moment nobody needs to be asked about it: neither who they are nor the store."""
        if len(self._full) >= MOST_FULL:
            self._full.clear()
        self._full[address] = time.monotonic() + min(standing.seconds, FULL_SECONDS), standing

    def windows(self, policy: str, who: str, instead: str | None = None) -> list[Ask]:
        """Those of somebody under a policy; `instead` is a limit in place of the one in the settings."""
        limit = instead or getattr(self._limit, policy)
        return [Ask(name, item, policy, who) for name, item in _windows(policy, limit)]

    async def count_address(self, request: Request) -> None:
        """Raises TooManyRequests. A shared store is asked later about who only reads and shows who they are: together
        with the question how often the person may (`count_caller`), else before the answer leaves (`count_due`)."""
        address = _address(request)
        until, standing = self._full.get(address, (0.0, None))
        if standing is not None and time.monotonic() < until:
            standings_of(request).append(standing)
            raise TooManyRequests(standing)
        request.state.address_due = self.windows("address", address)
        if self._limit.storage == "memory://":
            self.count(request, *_due(request))
        elif request.method not in ("GET", "HEAD") or "Authorization" not in request.headers:
            await self.count_due(request)

    async def count_due(self, request: Request) -> None:
        """Raises TooManyRequests."""
        if windows := _due(request):
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
        standings_of(request).append(standing)
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
        refused = False

        async def send_unless_refused(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                try:
                    await self._limits.count_due(request)
                except TooManyRequests as refusal:
                    refused = True
                    response = await too_many(request, refusal)
                    await response(scope, receive, send_with_standing)
            if not refused:
                await send_with_standing(message)

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in fields(standings_of(request)):
                    headers[name] = value
            await send(message)

        try:
            await self._limits.count_address(request)
        except TooManyRequests as refusal:
            response = await too_many(request, refusal)
            await response(scope, receive, send_with_standing)
        else:
            await self.app(scope, receive, send_unless_refused)


def count_caller(
    request: Request, user_id: UUID, tenant_id: UUID, key_id: UUID | None = None, tenant_limit: str | None = None
) -> None:
    """Once it is known who asks; raises TooManyRequests. A key counts for its owner, too.

    `tenant_limit` is a tenant's own, in place of the one in the settings.
    """
    limits: RateLimits = request.app.state.rate_limits
    keys = limits.windows("key", str(key_id)) if key_id is not None else ()
    people = limits.windows("user", str(user_id))
    limits.count(request, *_due(request), *keys, *people, *limits.windows("tenant", str(tenant_id), tenant_limit))


def _due(request: Request) -> list[Ask]:
    """The address's windows, if they are still to be counted; then they are no more."""
    windows: list[Ask] = getattr(request.state, "address_due", [])
    request.state.address_due = []
    return windows


def _standing(limiter: RateLimiter, name: str, item: RateLimitItem, *identifiers: str) -> Standing:
    reset, left = limiter.get_window_stats(item, *identifiers)
    return Standing(name, item.amount, item.get_expiry(), max(0, left), whole_seconds(reset - time.time()))


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
    return _customer(request.client.host if request.client else "")


@functools.lru_cache(maxsize=10_000)
def _customer(host: str) -> str:
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
