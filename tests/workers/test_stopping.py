"""Until when a worker that was told to stop may go on."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from workers import stopping
from workers.stopping import SAME_SECONDS, Stopping


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is."""
    now = [1000.0]
    monkeypatch.setattr(stopping, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_it_has_its_grace_time(clock: list[float]) -> None:
    told = Stopping(20)
    assert not told.told and not told.due
    told.tell()
    clock[0] += 19
    assert told.told and not told.due
    clock[0] += 1
    assert told.due


def test_said_again_in_the_same_moment_is_said_once(clock: list[float]) -> None:
    """A service manager tells every process, and the supervisor hands on what it was told."""
    told = Stopping(20)
    for _ in range(3):
        told.tell()
        clock[0] += SAME_SECONDS / 3
    assert not told.due
    clock[0] += 20
    assert told.due


def test_said_again_later_is_at_once(clock: list[float]) -> None:
    told = Stopping(3600)
    told.tell()
    clock[0] += SAME_SECONDS + 0.1
    told.tell()
    assert told.due


@pytest.mark.parametrize("before", [False, True])
def test_at_once(clock: list[float], before: bool) -> None:
    told = Stopping(3600)
    if before:
        told.tell()
    told.tell(at_once=True)
    assert told.due
