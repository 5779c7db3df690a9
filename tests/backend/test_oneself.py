"""What people do about themselves: their logins, and everything that a suspended tenant must not keep them from."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from jose import jwt
from sqlalchemy import update

from backend.audit.service import COMMAND
from backend.auth.password import hash_password
from backend.clock import database_now
from backend.models import LoginSession, User
from backend.tenant import suspension
from tests.colleagues import acts, colleague, id_of, invitation, told
from tests.operators import operator
from tests.servers import on_both
from tests.service import PASSWORD, InProcess, Person


def id_in(person: Person) -> str:
    return str(jwt.get_unverified_claims(person.token)["sid"])


def sessions(person: Person, **params: Any) -> list[dict[str, Any]]:
    answer = person.get("/sessions", params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json())


@pytest.fixture
def guest(service: InProcess, demo: Person) -> Person:
    """In a tenant of their own, which is suspended, and in the demo user's."""
    person = service.register("guest@example.com")
    assert told(person.post("/invitations/accept", {"code": invitation(demo, "guest@example.com")})) == (200, "")
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == person.email).values(password_hash=hash_password(PASSWORD)))
        suspension.suspend(session, COMMAND, service.scope(person).tenant_id, "unpaid")
    return person


def again(service: InProcess, guest: Person) -> Person:
    """A login that is in the suspended tenant."""
    person = service.login(guest.email)
    (place,) = (each for each in person.get("/tenants").json() if each["suspended"])
    session_id = UUID(id_in(person))
    with service.wiring.database.write() as session:
        moved = update(LoginSession).where(LoginSession.id == session_id).values(tenant_id=UUID(place["tenant_id"]))
        session.execute(moved)
    claims = jwt.get_unverified_claims(person.token) | {"tenant": place["tenant_id"]}
    head = jwt.get_unverified_header(person.token)
    secret = service.settings.auth.secret.get_secret_value()
    return Person(service.client, guest.email, jwt.encode(claims, secret, "HS256", headers=head), None)


@on_both
def test_in_a_suspended_tenant_people_keep_what_is_their_own(service: InProcess, demo: Person, guest: Person) -> None:
    for method, path in (("GET", "/me"), ("GET", "/history"), ("GET", "/keys"), ("POST", "/tenant/leave")):
        answer = service.client.request(method, f"/api/v1{path}", headers=guest.headers)
        assert told(answer) == (403, "tenant_suspended"), path
    assert [place["suspended"] for place in guest.get("/tenants").json()] == [True, False]
    body = {"current_password": PASSWORD, "new_password": PASSWORD}
    answer = guest.post("/password", body)
    assert answer.status_code == 200, answer.text
    guest = Person(service.client, guest.email, answer.json()["access_token"])
    assert told(guest.post("/logout")) == (204, "")
    assert told(guest.get("/tenants")) == (401, "token_invalid")
    guest = again(service, guest)
    other = again(service, guest)
    assert told(guest.delete(f"/sessions/{id_in(other)}")) == (204, "")
    there = demo.get("/tenant").json()["id"]
    answer = guest.post(f"/tenants/{there}/switch")
    moved = Person(service.client, guest.email, answer.json()["access_token"])
    assert moved.get("/me").json()["tenant_id"] == there
    guest = again(service, guest)
    assert told(guest.post("/logout/everywhere")) == (204, "")
    assert told(moved.get("/me")) == (401, "token_invalid")
    assert told(again(service, guest).post("/me/erase", {"password": PASSWORD})) == (200, "")


def test_a_key_of_a_suspended_tenant_sees_its_tenants_and_no_more(service: InProcess, demo: Person) -> None:
    key = demo.post("/keys", {"name": "k", "scopes": ["read", "admin"]}).json()["key"]
    with service.wiring.database.write() as session:
        suspension.suspend(session, COMMAND, service.scope(demo).tenant_id, "unpaid")
    program = Person(service.client, "", key)
    assert [place["suspended"] for place in program.get("/tenants").json()] == [True]
    assert told(program.get("/me")) == (403, "tenant_suspended")
    for path in ("/logout", "/logout/everywhere"):
        assert told(program.post(path)) == (403, "login_needed")


@on_both
def test_logins_are_listed_and_ended_one_by_one(service: InProcess, demo: Person, stranger: Person) -> None:
    other, gone, old = (service.login() for _ in range(3))
    renewed = service.client.post("/api/v1/refresh", json={"refresh_token": other.refresh_token})
    assert renewed.status_code == 200
    assert gone.post("/logout").status_code == 204
    with service.wiring.database.write() as session:
        late = update(LoginSession).where(LoginSession.id == UUID(id_in(old)))
        session.execute(late.values(expires_at=database_now(-1)))

    seen = sessions(demo)
    assert [(row["id"], row["current"]) for row in seen] == [(id_in(other), False), (id_in(demo), True)]
    assert [row["refreshed_at"] is None for row in seen] == [False, True]
    assert {row["tenant_id"] for row in seen} == {demo.get("/me").json()["tenant_id"]}
    first = demo.get("/sessions", params={"limit": 1})
    assert first.json() == seen[:1]
    assert demo.get(first.links["next"]["url"].removeprefix("/api/v1")).json() == seen[1:]

    for nobody_s in (id_in(stranger), id_in(gone), id_in(old), str(uuid4()), "x"):
        assert told(demo.delete(f"/sessions/{nobody_s}")) == (404, "login_not_found")
    assert told(demo.delete(f"/sessions/{id_in(other)}")) == (204, "")
    assert told(other.get("/me")) == (401, "token_invalid")
    refresh = {"refresh_token": renewed.json()["refresh_token"]}
    assert service.client.post("/api/v1/refresh", json=refresh).status_code == 401
    assert [row["id"] for row in sessions(demo)] == [id_in(demo)]
    assert sessions(stranger)[0]["id"] == id_in(stranger)
    *_, entry = acts(service, demo.get("/tenant").json()["id"], "login.ended")
    assert (entry.target, entry.actor_id) == (id_in(other), UUID(id_of(demo)))


def test_who_is_impersonated_sees_it_and_can_end_it(service: InProcess, demo: Person) -> None:
    member = colleague(service, demo, "member@example.com")
    body = {"reason": "they asked by telephone"}
    token = operator(service).post(f"/admin/users/{id_of(member)}/impersonate", body).json()["access_token"]
    acting = Person(service.client, member.email, token)
    assert told(acting.get("/sessions")) == (403, "not_while_impersonating")
    assert [row["impersonated"] for row in sessions(member)] == [True, False]
    assert told(member.delete(f"/sessions/{id_in(acting)}")) == (204, "")
    assert told(acting.get("/me")) == (401, "token_invalid")
    key = member.post("/keys", {"name": "k", "scopes": ["read", "admin"]}).json()["key"]
    assert told(Person(service.client, "", key).get("/sessions")) == (403, "login_needed")


@pytest.mark.parametrize("mark", ["\u202a", "\u202e", "\u2066", "\u2069"])
def test_names_that_turn_around_what_follows_are_refused(demo: Person, mark: str) -> None:
    name = f"song{mark}gpj.exe"
    answers = [
        demo.patch("/tenant", {"name": name}),
        demo.post("/keys", {"name": name, "scopes": ["read"]}),
        demo.post("/webhooks", {"url": "http://127.0.0.1:9/", "description": name}),
        demo.send(b"RIFF", name),
        demo.post("/separate", {"filename": name}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 5, [answer.text for answer in answers]
    codes = [answer.json()["code"] for answer in answers]
    assert codes == ["invalid_request"] * 3 + ["filename_invalid"] * 2
    assert demo.patch("/tenant", {"name": "שירים \u200f🎶"}).status_code == 200
