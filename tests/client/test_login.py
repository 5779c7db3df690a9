"""Logged in with a password: refreshed when the token expires, once for all who wait, and the password last."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from backend.auth.schemas import DEMO
from tests.client.conftest import HASTY
from tests.client.faulty_way import Fault, FaultyWay, _Handler, lose_answer, refuse, relay
from tests.service import InProcess, Person
from vocal_remover import AsyncClient, Busy, Client, NotAllowed

CREDITS, LOGIN, REFRESH = "GET .*/credits", "POST .*/login", "POST .*/refresh"
AT_ONCE = 8


@pytest.fixture
def client(service: InProcess, way: FaultyWay) -> Iterator[Client]:
    """That has logged in."""
    with Client(way.url, email=DEMO["email"], password=DEMO["password"], patience=HASTY) as made:
        assert made.credits().balance == 10
        yield made


def logins(way: FaultyWay) -> tuple[int, int]:
    """(with the password, by refreshing)."""
    return way.count(LOGIN), way.count(REFRESH)


def expired(way: FaultyWay) -> Fault:
    """What the service says to the token that was shown last, and to no other."""
    old = way.requests(CREDITS)[-1].headers["authorization"]

    def answer(handler: _Handler) -> None:
        (refuse(401) if handler.headers["Authorization"] == old else relay)(handler)

    return answer


def test_an_expired_token_is_renewed_without_the_password(client: Client, way: FaultyWay) -> None:
    for times in (1, 2):
        way.on(CREDITS, expired(way))
        assert client.credits().balance == 10
        assert logins(way) == (1, times)
    shown = [request.headers["authorization"] for request in way.requests(CREDITS)]
    assert len(set(shown)) == 3


def test_a_login_that_has_ended_is_begun_anew(client: Client, way: FaultyWay, demo: Person) -> None:
    assert demo.post("/logout/everywhere").status_code == 204
    assert client.credits().balance == 10
    assert logins(way) == (2, 1)
    way.on(CREDITS, expired(way))
    assert client.credits().balance == 10
    assert logins(way) == (2, 2)


def test_what_is_refused_again_is_refused(client: Client, way: FaultyWay) -> None:
    way.on(CREDITS, refuse(401), refuse(401))
    with pytest.raises(NotAllowed):
        client.credits()
    assert logins(way) == (1, 1)


def test_an_answer_that_got_lost_ends_no_login(client: Client, way: FaultyWay, service: InProcess) -> None:
    way.on(CREDITS, expired(way))
    way.on(REFRESH, lose_answer)
    assert client.credits().balance == 10
    assert logins(way) == (1, 2)


def test_while_nobody_can_be_asked_the_login_is_kept(client: Client, way: FaultyWay) -> None:
    way.on(CREDITS, expired(way), expired(way))
    way.on(REFRESH, refuse(503, Retry_After="3600"))
    with pytest.raises(Busy):
        client.credits()
    assert client.credits().balance == 10
    assert logins(way) == (1, 2)


def test_many_threads_refresh_once(client: Client, way: FaultyWay) -> None:
    way.on(CREDITS, *[expired(way)] * AT_ONCE)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert {credits.balance for credits in pool.map(lambda _: client.credits(), range(AT_ONCE))} == {10}
    assert logins(way) == (1, 1)


def test_many_tasks_log_in_once_and_refresh_once(service: InProcess, way: FaultyWay) -> None:
    async def run() -> None:
        async with AsyncClient(way.url, email=DEMO["email"], password=DEMO["password"], patience=HASTY) as client:
            await asyncio.gather(*(client.credits() for _ in range(AT_ONCE)))
            assert logins(way) == (1, 0)
            way.on(CREDITS, *[expired(way)] * AT_ONCE)
            hasty = asyncio.create_task(client.credits())
            others = [asyncio.create_task(client.credits()) for _ in range(AT_ONCE - 1)]
            await asyncio.sleep(0)
            hasty.cancel()  # who gives up holds nobody else up
            assert {credits.balance for credits in await asyncio.gather(*others)} == {10}

    asyncio.run(run())
    assert logins(way) == (1, 1)


def test_a_key_is_never_exchanged(service: InProcess, way: FaultyWay, demo: Person) -> None:
    way.on(CREDITS, refuse(401))
    with Client(way.url, demo.token, patience=HASTY) as client, pytest.raises(NotAllowed):
        client.credits()
    assert logins(way) == (0, 0)
