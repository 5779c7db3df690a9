"""One request counts in several windows: for its sender's key, person and tenant. In Redis that is one round trip."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from limits import RateLimitItem
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

SWEEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One window, of one policy and somebody."""

    name: str
    item: RateLimitItem
    policy: str
    who: str

    @property
    def key(self) -> str:
        return self.item.key_for(self.policy, self.who)


@dataclass(frozen=True, slots=True)
class Told:
    allowed: bool
    left: int
    seconds: float
    """Until there is more."""


class Together(Protocol):
    """A store that counts in several sliding windows in one go."""

    def take_windows(self, asks: Sequence[Ask]) -> list[Told]: ...


def take(storage: Storage, asks: Sequence[Ask]) -> list[Told]:
    """Count in each window, in order, until one is full: the last answer is then the only refusal."""
    if hasattr(storage, "take_windows"):
        return cast(Together, storage).take_windows(asks)
    counter = SlidingWindowCounterRateLimiter(storage)
    told: list[Told] = []
    for ask in asks:
        allowed = counter.hit(ask.item, ask.policy, ask.who)
        reset, left = counter.get_window_stats(ask.item, ask.policy, ask.who)
        told.append(Told(allowed, left, reset - time.time()))
        if not allowed:
            break
    return told


class MemoryWindows(MemoryStorage):
    """What `limits` reckons in this process's memory, without its thread that looks for old counts all the time."""

    STORAGE_SCHEME = ["memory-windows"]

    def __init__(self, uri: str | None = None, wrap_exceptions: bool = False, **_: str) -> None:
        super().__init__(uri, wrap_exceptions, **_)
        self._windows: dict[str, _Window] = {}
        self._lock = threading.Lock()
        self._swept = 0.0

    def take_windows(self, asks: Sequence[Ask]) -> list[Told]:
        now = time.time()
        told: list[Told] = []
        with self._lock:
            if now - self._swept > SWEEP_SECONDS:
                self._swept = now
                self._windows = {key: window for key, window in self._windows.items() if window.ends > now}
            for ask in asks:
                length = ask.item.get_expiry()
                window = self._windows.setdefault(ask.key, _Window())
                window.move(int(now / length), length)
                left = length - now % length
                allowed = math.floor(window.before * left / length + window.count) < ask.item.amount
                window.count += allowed
                milliseconds = left * 1000
                told.append(_told(ask.item, allowed, window.before, milliseconds, window.count, milliseconds))
                if not allowed:
                    break
        return told


@dataclass(slots=True)
class _Window:
    place: int = 0
    """Of how many of its length since the epoch."""
    before: int = 0
    count: int = 0
    ends: float = 0.0
    """When it no longer weighs anything."""

    def move(self, place: int, length: float) -> None:
        if place != self.place:
            self.before = self.count if place == self.place + 1 else 0
            self.place, self.count, self.ends = place, 0, (place + 2) * length


class OneTripRedis(RedisStorage):
    """What `limits` asks of Redis in two scripts for each window, in one for all of them, with the same keys."""

    STORAGE_SCHEME = ["one-trip-redis"]

    def initialize_storage(self, uri: str) -> None:
        super().initialize_storage(uri)
        self._take: Any = self.get_connection().register_script(_TAKE.encode())

    def take_windows(self, asks: Sequence[Ask]) -> list[Told]:
        keys, arguments = [], []
        for ask in asks:
            keys += [
                self.prefixed_key(self._previous_window_key(ask.key)),
                self.prefixed_key(self._current_window_key(ask.key)),
            ]
            arguments += [ask.item.amount, ask.item.get_expiry() * 1000]
        return [_told(ask.item, *found) for ask, found in zip(asks, self._take(keys, arguments), strict=False)]


def _told(item: RateLimitItem, allowed: int, before: int, before_left: float, now: int, now_left: float) -> Told:
    """As `limits` reckons (`SlidingWindowCounterRateLimiter.get_window_stats`), from times in milliseconds."""
    expiry = item.get_expiry() * 1000
    left = max(0, item.amount - math.floor(before * before_left / expiry + now))
    resets = [before_left % (expiry / before)] if before else []
    resets += [now_left % expiry] if now else []
    return Told(bool(allowed), left, min(resets, default=0) / 1000)


# Times in milliseconds. Two keys for each window, the last one and the present one; its limit and its length.
_TAKE = """
local found = {}
for place = 1, #KEYS, 2 do
    local last, present = KEYS[place], KEYS[place + 1]
    local limit, length = tonumber(ARGV[place]), tonumber(ARGV[place + 1])
    local present_left = redis.call('pttl', present)
    if present_left > 0 and present_left < length then
        redis.call('rename', present, last)
        redis.call('set', present, 0, 'PX', present_left + length)
        present_left = present_left + length
    end
    local before = tonumber(redis.call('get', last)) or 0
    local before_left = math.max(0, redis.call('pttl', last))
    local now = tonumber(redis.call('get', present)) or 0
    local allowed = math.floor(before * before_left / length) + now < limit
    if allowed and present_left > 0 then
        now = redis.call('incr', present)
    elseif allowed then
        redis.call('set', present, 1, 'PX', length * 2)
        now, present_left = 1, length * 2
    end
    found[#found + 1] = {allowed and 1 or 0, before, before_left, now, math.max(0, present_left)}
    if not allowed then
        break
    end
end
return found
"""
