"""What the bench of a crowd is made of: songs that differ, requests that are told apart, figures."""

from __future__ import annotations

import hashlib
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx
import pytest

from bench.crowd.figures import broken, passed_by, percentiles, summary, table, tasks_per_minute
from bench.crowd.proof import Proof, Taken
from bench.crowd.run import Outcome, Plan
from bench.crowd.songs import write_songs
from bench.crowd.visit import Visit
from bench.crowd.way import Asked, address
from engine.audio_io import DecodeLimits, probe

START = datetime(2026, 1, 1, tzinfo=UTC)


def taken(number: int, tenant_id: UUID, created: float, claimed: float, finished: float) -> Taken:
    at = [START + timedelta(seconds=each) for each in (created, claimed, finished)]
    return Taken(str(number), tenant_id, "completed", *at)


def test_songs_differ_in_name_alone(tmp_path: Path) -> None:
    songs = write_songs(tmp_path, 3, 2)
    assert len({hashlib.sha256(song.read_bytes()).digest() for song in songs}) == 3
    found = [probe(song, DecodeLimits()) for song in songs]
    assert found[0].seconds == pytest.approx(2, abs=0.1)
    assert len(set(found)) == 1


def test_each_place_has_an_address_of_its_own() -> None:
    assert len({httpx.URL(f"http://{address(place)}").host for place in range(1000)}) == 1000


def test_what_is_polite_and_what_is_wrong() -> None:
    answers = [
        Asked("GET /me", 200, 0),
        Asked("GET /me", 503, 0, True),
        Asked("GET /me", 503, 0),
        Asked("GET /me", 0, 0),
    ]
    assert [each.polite for each in answers] == [False, True, False, False]
    assert [each.wrong for each in answers] == [False, False, True, True]


def test_percentiles_of_nothing_are_no_number() -> None:
    assert percentiles(range(100)) == [50, 95, 99]
    assert all(map(math.isnan, percentiles([])))


def test_who_is_passed_by() -> None:
    """The greedy tenant's third task begins while somebody's first waits; their second has no such claim."""
    greedy, other = uuid4(), uuid4()
    tasks = [taken(1, greedy, 0, 1, 2), taken(2, greedy, 0, 2, 3), taken(3, greedy, 0, 4, 5),
             taken(4, other, 3, 5, 6), taken(5, other, 3, 9, 10), taken(6, greedy, 0, 7, 9)]  # fmt: skip
    assert passed_by(tasks, frozenset({"1", "2", "3", "6"})) == 1
    assert tasks_per_minute(tasks) == pytest.approx(60 * 6 / 9)


def test_a_run_that_broke_a_promise_says_which() -> None:
    tenant = uuid4()
    visit = Visit(
        "a", task_ids=["1"], fetched=1, asked=[Asked("POST /uploads", 201, 0.5), Asked("POST /separate", 500, 0.1)]
    )
    proof = Proof([taken(1, tenant, 0, 1, 2)], 0, 0, 0, 0, 0, 0)
    found = summary(Outcome("embedded", Plan(1, 10), [visit], proof, {"API": 10**8}))
    assert broken(found) == ["errors: {'500 POST /separate': 1}"]
    assert found["upload"] == [0.5] * 3
    assert "1 × 500 POST /separate" in table([found])
    lost = summary(Outcome("embedded", Plan(1, 10), [Visit("a", task_ids=["1"])], Proof([], 1, 0, 7, 0, 0, 2)))
    assert [line.partition(":")[0] for line in broken(lost)] == [
        "lost", "held_millicredits", "orphan_files", "stems of 0 of 1 tasks arrived",
    ]  # fmt: skip
