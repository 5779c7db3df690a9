from __future__ import annotations

import time
from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vocal_remover import Patience, Refused
from vocal_remover.errors import refusal, seconds_asked
from vocal_remover.sse import LONGEST, Event, Parser

STREAM = (
    '\ufeff: ping\r\n\r\nid: 1\r\nevent: state\r\ndata: {"a": "ü"}\r\n\r\n'
    "data: one\ndata:two\n\nid: x\0\revent:\rdata\r\runknown: 1\n\nevent: unheard\n\ndata: never ended"
).encode()
EVENTS = [Event("state", '{"a": "ü"}', "1"), Event("message", "one\ntwo", None), Event("message", "", None)]


@given(st.lists(st.integers(0, len(STREAM))))
def test_events_are_the_same_however_they_were_cut(cuts: list[int]) -> None:
    parser = Parser()
    ends = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[start:end] for start, end in pairwise(ends)]
    assert [event for piece in pieces for event in parser.feed(piece)] == EVENTS


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 1000, b"data: " + b"x" * 1000 + b"\n"])
def test_an_event_without_an_end_does_not_fill_the_memory(piece: bytes) -> None:
    parser = Parser()
    with pytest.raises(ValueError, match="more than"):
        for _ in range(LONGEST // 500):
            list(parser.feed(piece))


@given(st.integers(1, 10), st.floats(0, 120))
def test_the_service_is_never_asked_before_the_time_it_said(failures: int, asked: float) -> None:
    wait = Patience(attempts=11).wait(failures, asked)
    assert wait is not None
    assert asked <= wait <= 1.1 * asked + 0.1


def test_waits_grow_and_end() -> None:
    patience = Patience(attempts=5, first_wait=1, longest_wait=6)
    waits = [patience.wait(failures) or 0 for failures in (1, 2, 3, 4)]
    for wait, most in zip(waits, (1, 2, 4, 6), strict=True):
        assert most / 2 <= wait <= most
    assert patience.wait(5) is None
    assert patience.wait(1, asked=6.1) is None
    assert patience.look_again(10_000) <= patience.poll


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), (" 0 ", 0), (None, None), ("soon", None), ("-1", None)])
def test_retry_after_in_seconds(text: str | None, seconds: float | None) -> None:
    assert seconds_asked(text) == seconds


def test_retry_after_as_a_date() -> None:
    now = time.time()
    assert seconds_asked(formatdate(now - 60, usegmt=True)) == 0
    assert 3000 < (seconds_asked(formatdate(now + 3600, usegmt=True)) or 0) <= 3600


@pytest.mark.parametrize("body", [None, [], "text", {"errors": None}])
def test_an_error_that_is_no_problem_body_is_an_error_all_the_same(body: object) -> None:
    error = refusal(599, {}, body)
    assert isinstance(error, Refused)
    assert (error.status, error.code, error.errors, error.request_id) == (599, "http_599", [], None)
