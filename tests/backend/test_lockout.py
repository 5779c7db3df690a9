"""Guessing passwords: it gets slower with each guess, whoever's account it is, and tells nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from backend.auth import lockout, password
from backend.auth import service as auth
from backend.auth.lockout import TooManyFailures
from backend.auth.service import LoginRefused
from backend.clock import database_now
from backend.models import LoginGuard, User
from tests.servers import on_both
from tests.service import InProcess, MakeService

RIGHT = "password123"
DEMO = "test@example.com"


@pytest.fixture
def service(make_service: MakeService) -> InProcess:
    return make_service(auth={"lock_after": 2, "lock_seconds": 60, "lock_longest_seconds": 200})


def login(service: InProcess, email: str = DEMO, given: str = "wrong") -> httpx.Response:
    return service.client.post("/api/v1/login", json={"email": email, "password": given})


def waited(service: InProcess) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(LoginGuard).values(locked_until=database_now(-1)))


def failures(service: InProcess) -> list[int]:
    with service.wiring.database.read() as session:
        return sorted(session.scalars(select(LoginGuard.failures)))


@on_both
def test_each_wrong_password_makes_the_next_wait_longer(service: InProcess) -> None:
    assert [login(service).status_code for _ in range(2)] == [401, 401]
    waits = []
    for _ in range(4):
        locked = login(service, given=RIGHT)  # not even the right one
        assert (locked.status_code, locked.json()["code"]) == (429, "too_many_failures")
        waits.append(int(locked.headers["retry-after"]))
        waited(service)
        assert login(service).status_code == 401
    for wait, at_most in zip(waits, (60, 120, 200, 200), strict=True):
        assert at_most - 30 <= wait <= at_most
    waited(service)
    assert login(service, given=RIGHT).status_code == 200
    assert [login(service).status_code for _ in range(3)] == [401, 401, 429], "forgiven, and counted anew"


def test_an_account_that_is_none_is_locked_like_one_that_is(service: InProcess) -> None:
    def tried(email: str) -> list[Any]:
        answers = [login(service, email) for _ in range(3)]
        return [(answer.status_code, answer.json()["code"], answer.headers["content-type"]) for answer in answers]

    assert tried(DEMO) == tried("nobody@example.com")


def test_spelling_an_address_otherwise_is_no_way_around(service: InProcess) -> None:
    assert [login(service, email).status_code for email in (DEMO, "TEST@example.com", " Test@example.com")] == [
        401,
        401,
        429,
    ]


@on_both
def test_many_guesses_at_once_are_no_way_around(service: InProcess) -> None:
    with ThreadPoolExecutor(16) as pool:
        statuses = Counter(answer.status_code for answer in pool.map(lambda _: login(service), range(16)))
    assert statuses == {401: 2, 429: 14}


def test_the_form_and_the_password_change_count_too(service: InProcess) -> None:
    person = service.login()
    form = {"username": DEMO, "password": "wrong"}
    assert service.client.post("/api/v1/token", data=form).status_code == 401
    body = {"current_password": "wrong", "new_password": "another long one"}
    assert person.post("/password", body).status_code == 403
    assert person.post("/password", body).status_code == 429
    assert login(service, given=RIGHT).status_code == 429


def test_an_address_that_tries_many_accounts_is_stopped(service: InProcess) -> None:
    """Logging in to an account of one's own in between does not help."""
    for number in range(8):
        with pytest.raises(LoginRefused):
            auth.login(service.wiring, f"{number}@example.com", "wrong", "203.0.113.7")
        if number == 4:
            auth.login(service.wiring, DEMO, RIGHT, "203.0.113.7")
    with pytest.raises(TooManyFailures):
        auth.login(service.wiring, "9@example.com", "wrong", "203.0.113.7")
    assert auth.login(service.wiring, DEMO, RIGHT, "203.0.113.8").access


def test_a_stranger_s_guesses_don_t_lock_the_owner_out_until_they_come_from_everywhere(
    make_service: MakeService,
) -> None:
    service = make_service(auth={"lock_after": 1, "lock_seconds": 60})
    for number in range(9):
        with pytest.raises(LoginRefused):
            auth.login(service.wiring, DEMO, "wrong", f"203.0.113.{number}")
    assert auth.login(service.wiring, DEMO, RIGHT, "198.51.100.1").access
    with pytest.raises(LoginRefused):
        auth.login(service.wiring, DEMO, "wrong", "203.0.113.10")
    with pytest.raises(TooManyFailures):
        auth.login(service.wiring, DEMO, RIGHT, "198.51.100.1")


def test_a_customer_s_ipv6_addresses_are_one(service: InProcess) -> None:
    def key(address: str) -> str:
        return lockout.password_counters(service.settings.auth, DEMO, address)[0].sha256

    assert key("2001:db8::1") == key("2001:db8::ffff:1") != key("2001:db8:0:1::1")
    assert key("::ffff:192.0.2.1") == key("192.0.2.1") != key("192.0.2.2")
    assert key("not an address") == key("not an address")


@on_both
def test_what_was_long_ago_is_forgotten(service: InProcess) -> None:
    login(service)
    longer = 2 * service.settings.auth.lock_longest_seconds + 60
    with service.wiring.database.write() as session:
        session.execute(update(LoginGuard).values(last_at=database_now(-longer)))
    login(service)
    assert failures(service) == [1, 1, 1]
    with service.wiring.database.write() as session:
        session.execute(update(LoginGuard).values(last_at=database_now(-longer)))
        auth.forget_old(session, service.wiring)
    assert failures(service) == []


class Counting:
    """The real hashing, with its uses counted."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self.checked: list[str] = []

    def hash(self, secret: str) -> str:
        return str(self._context.hash(secret))

    def verify(self, secret: str, hashed: str) -> bool:
        self.checked.append(hashed.rpartition("$")[0].rpartition("$")[0])
        return bool(self._context.verify(secret, hashed))


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counting]:
    password._dummy_hash.cache_clear()
    counting = Counting(password._context)
    monkeypatch.setattr(password, "_context", counting)
    yield counting
    password._dummy_hash.cache_clear()


def test_an_unknown_account_costs_the_same_hashing(make_service: MakeService, counting: Counting) -> None:
    """One check against a hash of the same kind and cost, whoever is asked for."""
    service = make_service()
    service.register("gone@example.com")
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == "gone@example.com").values(active=False))
    for email in (DEMO, "nobody@example.com", "gone@example.com"):
        assert login(service, email).status_code == 401
    assert len(counting.checked) == 3
    (parameters,) = set(counting.checked)
    assert parameters.startswith("$argon2id$")


def test_a_storm_of_logins_is_told_to_come_again(service: InProcess) -> None:
    person = service.login()
    with ExitStack() as others:
        for _ in range(10):
            others.enter_context(password._waiting_room)
        answer = login(service, given=RIGHT)
        assert (answer.status_code, answer.json()["code"]) == (503, "logins_busy")
        assert int(answer.headers["retry-after"]) > 0
        assert person.get("/me").status_code == 200
    assert not any(failures(service)), "who was not let in has not guessed"
    assert login(service, given=RIGHT).status_code == 200
