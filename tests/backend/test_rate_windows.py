"""Counting in several windows at once says what `limits` says, one window after the other."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from uuid import uuid4

import pytest
from limits import parse
from limits.storage import MemoryStorage, RedisStorage, Storage
from limits.strategies import SlidingWindowCounterRateLimiter

from backend.rate_windows import Ask, MemoryWindows, OneTripRedis, take


def test_memory_counts_as_limits_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same random requests against both, on a clock that both read."""
    chance, now = random.Random(11), [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    ours, theirs = MemoryWindows(), SlidingWindowCounterRateLimiter(MemoryStorage())
    item = parse("5 per 3 seconds")
    answers = []
    for _ in range(800):
        now[0] += chance.choice([0.0, 0.0, 0.1, 0.1, 0.1, 0.25, 0.25, 4.0, 0.1])
        who = chance.choice("ab")
        [told] = take(ours, [Ask("user", item, "user", who)])
        answers.append(theirs.hit(item, "user", who))
        reset, left = theirs.get_window_stats(item, "user", who)
        assert (told.allowed, told.left) == (answers[-1], left)
        assert told.seconds == pytest.approx(reset - now[0], abs=1e-5)
    assert 100 < answers.count(True) < 700
    assert any(earlier and not later for earlier, later in pairwise(answers))
    now[0] += 1000
    take(ours, [Ask("user", item, "user", "c")])
    assert len(ours._windows) == 1  # what is over is forgotten


@pytest.mark.parametrize("store", ["memory", "redis", "limits"])
def test_who_is_refused_by_one_window_counts_in_none_after_it(store: str, request: pytest.FixtureRequest) -> None:
    storage: Storage = MemoryStorage()
    if store == "redis":
        storage = OneTripRedis(request.getfixturevalue("redis_url"))
    elif store == "memory":
        storage = MemoryWindows()
    key, user = (Ask(name, parse(limit), name, "x") for name, limit in (("key", "2 per hour"), ("user", "9 per hour")))
    answers = [[(told.allowed, told.left) for told in take(storage, [key, user])] for _ in range(4)]
    assert answers == [[(True, 1), (True, 8)], [(True, 0), (True, 7)], [(False, 0)], [(False, 0)]]
    assert [told.left for told in take(storage, [user])] == [6]
    assert 0 <= take(storage, [key])[0].seconds <= 3600  # 0 within the first millisecond


def test_redis_goes_on_where_limits_counted(redis_url: str) -> None:
    """The same keys with the same meaning, over the end of a window too."""
    ours, theirs = OneTripRedis(redis_url), SlidingWindowCounterRateLimiter(RedisStorage(redis_url))
    item, who = parse("20 per second"), uuid4().hex
    give_up = time.monotonic() + 2.5
    refusals = 0
    while time.monotonic() < give_up or refusals <= 10:
        began = time.monotonic()
        [told] = take(ours, [Ask("user", item, "user", who)])
        refusals += not told.allowed
        left = theirs.get_window_stats(item, "user", who).remaining
        elapsed = time.monotonic() - began
        assert abs(left - told.left) <= 1 + 20 * elapsed  # time has passed between
        theirs.hit(item, "user", who)
        time.sleep(0.02)
    assert 10 < refusals < 100
