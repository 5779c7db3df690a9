"""What a login or key gave (links, tickets, open streams) ends with it; and a login is not refreshed for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from jose import jwt
from sqlalchemy import delete, update

from backend.auth import service as auth
from backend.clock import database_now
from backend.models import ApiKey, LoginSession, Membership, Tenant, User
from backend.realtime import feed
from tests.colleagues import invitation
from tests.listening import told
from tests.processes import wait_until
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

End = Callable[[InProcess, Person], Any]


def log_out(service: InProcess, person: Person) -> None:
    assert person.post("/logout").status_code == 204


def log_out_everywhere(service: InProcess, person: Person) -> None:
    assert service.login().post("/logout/everywhere").status_code == 204


def _write(service: InProcess, statement: Any) -> None:
    with service.wiring.database.write() as session:
        session.execute(statement)


def switch_off(service: InProcess, person: Person) -> None:
    _write(service, update(User).values(active=False))


def leave(service: InProcess, person: Person) -> None:
    _write(service, delete(Membership))


def suspend(service: InProcess, person: Person) -> None:
    _write(service, update(Tenant).values(suspended_at=database_now()))


def switch(service: InProcess, person: Person) -> None:
    """To a tenant that has invited them, in which they stay."""
    code = invitation(service.register("host@example.com"), person.email)
    there = person.post("/invitations/accept", {"code": code}).json()["tenant_id"]
    assert person.post(f"/tenants/{there}/switch").status_code == 200


def expire(service: InProcess, person: Person) -> None:
    _write(service, update(LoginSession).values(expires_at=database_now(-1)))


def revoke_key(service: InProcess, person: Person) -> None:
    owner = service.login()
    for key in owner.get("/keys").json():
        assert owner.delete(f"/keys/{key['id']}").status_code == 204


def expire_key(service: InProcess, person: Person) -> None:
    _write(service, update(ApiKey).values(expires_at=database_now(-1)))


OF_LOGINS: list[End] = [log_out_everywhere, switch_off, leave, suspend, switch, expire]
OF_KEYS: list[End] = [revoke_key, expire_key]


def with_key(service: InProcess, scopes: list[str]) -> Person:
    made = service.login().post("/keys", {"name": "a program", "scopes": scopes})
    assert made.status_code == 201, made.text
    return Person(service.client, "", made.json()["key"])


@contextmanager
def listening(person: Person, task_id: str) -> Iterator[threading.Thread]:
    """Somebody who has heard the task's first event and waits for more."""
    begun = threading.Event()

    def listen() -> None:
        for _ in told(person, task_id):
            begun.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert begun.wait(10)
    try:
        yield listener
    finally:
        listener.join(10)
        assert not listener.is_alive()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(feed, "CHECK_SECONDS", 0.1)


@on_both
@pytest.mark.usefixtures("quick")
def test_streams_end_with_the_way_in(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    for end, person in ((revoke_key, with_key(service, ["read"])), (log_out, demo)):
        with listening(person, task_id):
            end(service, person)
    assert service.row(task_id).status == "queued"


@pytest.mark.parametrize("end", [*OF_LOGINS, expire_key], ids=lambda end: end.__name__)
@pytest.mark.usefixtures("quick")
def test_streams_end_with_the_person(service: InProcess, demo: Person, end: End, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    person = with_key(service, ["read"]) if end in (expire_key, switch_off) else demo
    with listening(person, task_id):
        end(service, person)


@pytest.mark.usefixtures("quick")
def test_other_people_s_streams_go_on(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    task_id, other = demo.submit(demo.upload(warmup)), stranger.submit(stranger.upload(warmup))
    again = service.login()
    with listening(stranger, other) as far, listening(again, task_id) as near:
        with listening(demo, task_id):
            log_out(service, demo)
        checked = service._app.state.feed._checked
        wait_until(lambda: service._app.state.feed._checked > checked)
        assert far.is_alive()
        assert near.is_alive()
        for person, task in ((stranger, other), (again, task_id)):
            assert person.post(f"/tasks/{task}/cancel").status_code == 200


@pytest.fixture
def done(service: InProcess, warmup: Path) -> str:
    person = service.login()
    task_id = person.submit(person.upload(warmup))
    assert service.work()
    return task_id


def links(person: Person, task_id: str) -> list[str]:
    task = person.task(task_id)
    [row] = person.get("/history").json()
    return [task["archive_url"], *(stem["url"] for stem in [*task["stems"], *row["stems"]])]


def statuses(service: InProcess, urls: list[str]) -> set[int]:
    return {service.client.get(url).status_code for url in urls}


@on_both
def test_links_and_tickets_end_with_the_way_in(service: InProcess, done: str) -> None:
    for end in (log_out, log_out_everywhere, switch, revoke_key, expire_key):
        of_key = end in OF_KEYS
        person = with_key(service, ["read"]) if of_key else service.login()
        other = service.login()
        urls, others = links(person, done), links(other, done)
        ticket = person.post("/tickets", {"task_id": done}).json()["ticket"]
        assert statuses(service, urls) == {200}
        end(service, person)
        assert statuses(service, urls) == {401}
        assert statuses(service, others) == ({401} if end is log_out_everywhere else {200})
        answer = service.client.get(f"/api/v1/tasks/{done}/events", params={"ticket": ticket})
        assert (answer.status_code, answer.json()["code"]) == (401, "ticket_invalid")


def test_links_end_with_the_person_and_may_no_more_than_their_key(service: InProcess, done: str) -> None:
    program = with_key(service, ["read"])
    url = links(program, done)[0]
    events = f"/api/v1/tasks/{done}/events?ticket={program.post('/tickets', {'task_id': done}).json()['ticket']}"
    assert statuses(service, [url]) == {200}
    _write(service, update(ApiKey).values(scopes="separate"))
    assert statuses(service, [url, events]) == {401}
    for end in (expire, switch_off, leave):
        _write(service, update(User).values(active=True))
        person = service.login()
        urls = links(person, done)
        end(service, person)
        assert statuses(service, urls) == {401}, end.__name__


def test_a_ticket_names_its_login_and_can_be_made_to_name_no_other(service: InProcess, warmup: Path) -> None:
    person, other = service.login(), service.login()
    done = person.submit(person.upload(warmup))
    person.post(f"/tasks/{done}/cancel")
    ticket = person.post("/tickets", {"task_id": done}).json()["ticket"]
    secret, kind, session_id = ticket.split(".")
    assert (kind, session_id) == ("login", _session(person).hex)
    for forged in (f"{secret}.{kind}.{_session(other).hex}", f"{secret}.key.{session_id}", secret):
        assert service.client.get(f"/api/v1/tasks/{done}/events", params={"ticket": forged}).status_code == 401
    assert service.client.get(f"/api/v1/tasks/{done}/events", params={"ticket": ticket}).status_code == 200


def _session(person: Person) -> UUID:
    return UUID(jwt.get_unverified_claims(person.token)["sid"])


def renew(service: InProcess, token: str) -> httpx.Response:
    return service.client.post("/api/v1/refresh", json={"refresh_token": token})


def _row(service: InProcess) -> LoginSession:
    with service.wiring.database.read() as session:
        return session.query(LoginSession).one()


@on_both
def test_no_login_is_refreshed_for_ever(make_service: MakeService) -> None:
    service = make_service(auth={"refresh_days": 30, "login_days": 90})
    person = service.login()
    token = renew(service, person.refresh_token).json()["refresh_token"]
    assert timedelta(days=29) < _row(service).expires_at - _row(service).created_at < timedelta(days=31)

    _write(service, update(LoginSession).values(created_at=database_now(-80 * 86_400)))
    token = renew(service, token).json()["refresh_token"]
    assert _row(service).expires_at == _row(service).created_at + timedelta(days=90)

    _write(service, update(LoginSession).values(created_at=database_now(-90 * 86_400 - 1)))
    answer = renew(service, token)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_refused")
    assert person.get("/me").status_code == 401
    with service.wiring.database.write() as session:
        auth.forget_old(session, service.wiring)


def test_a_login_that_may_last_a_day_ends_after_it(make_service: MakeService) -> None:
    service = make_service(auth={"refresh_days": 30, "login_days": 1})
    service.login()
    assert _row(service).expires_at - _row(service).created_at < timedelta(days=1, seconds=1)
