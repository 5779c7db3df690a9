"""API keys: shown once, good for what they were made for, gone at once."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, get_args
from uuid import UUID, uuid4

from sqlalchemy import delete, select, update

from backend.audit.service import COMMAND
from backend.clock import database_now
from backend.key import service as keys
from backend.models import ApiKey, Membership, User
from backend.models.api_key import Permission
from tests.servers import on_both
from tests.service import InProcess, Person

SCOPES = get_args(Permission)


def make(person: Person, *scopes: str, **more: Any) -> dict[str, Any]:
    answer = person.post("/keys", {"name": "studio", "scopes": scopes or SCOPES, **more})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def status(service: InProcess, key: str, scheme: str = "Bearer") -> int:
    return service.client.get("/api/v1/me", headers={"Authorization": f"{scheme} {key}"}).status_code


def test_a_key_is_shown_once_and_stands_for_its_maker(service: InProcess, demo: Person) -> None:
    made = make(demo, "read")
    for scheme in ("Bearer", "Key", "key", "bearer"):
        me = service.client.get("/api/v1/me", headers={"Authorization": f"{scheme} {made['key']}"})
        assert (me.status_code, me.json()["email"]) == (200, demo.email)
    (listed,) = demo.get("/keys").json()
    assert listed == {name: value for name, value in made.items() if name != "key"} | {
        "last_used_at": listed["last_used_at"]
    }
    assert made["key"].startswith(listed["prefix"])
    with service.wiring.database.read() as session:
        row = session.scalars(select(ApiKey)).one()
    kept = [str(getattr(row, column.name)) for column in ApiKey.__table__.columns]
    secret = made["key"].removeprefix(made["prefix"])
    assert len(secret) > 40
    assert not [value for value in kept if secret in value]


def test_what_is_not_quite_a_key(service: InProcess, demo: Person) -> None:
    key = make(demo)["key"]
    other = make(demo)["key"]
    cut = keys.PUBLIC_LENGTH
    for wrong in (key[:-1], key + "x", key[:cut], other[:cut] + key[cut:], "vrk_", "vrk_" + "0" * 60, key.upper()):
        assert status(service, wrong) == 401, wrong
        assert status(service, wrong, "Key") == 401, wrong
    assert status(service, key, "Basic") == 401
    assert status(service, demo.token, "Key") == 401, "a login's token is no key"
    assert status(service, key) == 200


def test_a_revoked_key_is_refused_from_the_next_request_on(service: InProcess, demo: Person, stranger: Person) -> None:
    made = make(demo)
    answers = [stranger.delete(f"/keys/{each}") for each in (made["id"], uuid4())]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found")
    assert stranger.get("/keys").json() == []
    assert status(service, made["key"]) == 200
    assert demo.delete(f"/keys/{made['id']}").status_code == 204
    assert status(service, made["key"]) == 401
    assert demo.get("/keys").json() == []
    assert demo.delete(f"/keys/{made['id']}").status_code == 404


def test_a_key_outlives_the_login_that_made_it_unless_all_is_ended(service: InProcess, demo: Person) -> None:
    key = make(demo)["key"]
    demo.post("/logout")
    assert status(service, key) == 200
    service.login().post("/logout/everywhere")
    assert status(service, key) == 200
    service.login().post("/logout/everywhere", {"keys": True})
    assert status(service, key) == 401


@on_both
def test_an_expired_key_is_refused(service: InProcess, demo: Person) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    made = make(demo, expires_at=soon.isoformat())
    assert datetime.fromisoformat(made["expires_at"]) == soon
    assert status(service, made["key"]) == 200
    with service.wiring.database.write() as session:
        session.execute(update(ApiKey).values(expires_at=database_now(-1)))
    assert status(service, made["key"]) == 401
    for wrong in (datetime.now(UTC) - timedelta(seconds=1), datetime(2999, 1, 1)):  # noqa: DTZ001
        body = {"name": "x", "scopes": ["read"], "expires_at": wrong.isoformat()}
        assert demo.post("/keys", body).status_code == 422


def test_a_key_is_no_better_than_its_maker(service: InProcess, demo: Person, stranger: Person) -> None:
    theirs, mine = make(stranger)["key"], make(demo)["key"]
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == demo.email).values(active=False))
        session.execute(delete(Membership).where(Membership.user_id == service_user(service, stranger)))
    assert (status(service, mine), status(service, theirs)) == (401, 401)


def service_user(service: InProcess, person: Person) -> UUID:
    with service.wiring.database.read() as session:
        return session.scalars(select(User.id).where(User.email == person.email)).one()


@on_both
def test_the_last_use_is_written_once_a_minute(service: InProcess, demo: Person) -> None:
    key = make(demo)["key"]

    def used() -> datetime | None:
        with service.wiring.database.read() as session:
            return session.scalars(select(ApiKey.last_used_at)).one()

    assert used() is None
    status(service, key)
    first = used()
    assert first is not None
    status(service, key)
    assert used() == first
    with service.wiring.database.write() as session:
        session.execute(update(ApiKey).values(last_used_at=database_now(-keys.USED_SECONDS - 1)))
    status(service, key)
    assert (used() or first) > first
    status(service, key[:-1] + "?")
    assert status(service, key) == 200


def test_keys_are_not_without_number(service: InProcess, demo: Person) -> None:
    scope = service.scope(demo)
    with service.wiring.database.write() as session:
        for _ in range(keys.MOST_KEYS):
            keys.create(session, COMMAND, scope, "x", ["read"], None)
    answer = demo.post("/keys", {"name": "one more", "scopes": ["read"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")
    demo.delete(f"/keys/{demo.get('/keys').json()[0]['id']}")
    assert make(demo)


def test_keys_that_can_t_be(demo: Person) -> None:
    wrong: list[dict[str, Any]] = [{"scopes": []}, {"scopes": ["root"]}, {"user_id": "x"}]
    wrong += [{"name": name} for name in ("", " ", "a\0b", "x" * 101)]
    for each in wrong:
        assert demo.post("/keys", {"name": "studio", "scopes": ["read"]} | each).status_code == 422, each


def test_every_route_says_what_it_needs_and_wants_just_that(service: InProcess, demo: Person) -> None:
    """From the document: each protected route is open to a key with its scope, and to no other key."""
    made = {scope: make(demo, scope)["key"] for scope in SCOPES}
    all_of_it = make(demo)["key"]
    paths = service.client.get("/openapi.json").json()["paths"]
    seen = set()
    for path, methods in paths.items():
        for method, route in methods.items():
            if "security" not in route:
                continue
            (needed,) = {tuple(scopes) for scheme in route["security"] for scopes in scheme.values()}
            assert {name for scheme in route["security"] for name in scheme} == {"Login", "Token", "Key"}
            address = re.sub(r"\{\w+_id\}", str(uuid4()), path).replace("{stem}", "vocals")
            (scope,) = needed
            for own, key in made.items():
                answer = service.client.request(method, address, headers={"Authorization": f"Key {key}"})
                problem = answer.json()["code"] if answer.status_code >= 400 else ""
                if own != scope:
                    assert (answer.status_code, problem) == (403, "scope_missing"), (method, path, own)
                    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
                    assert "403" in route["responses"]
                elif (method, path) in FOR_LOGINS or path.startswith("/api/v1/admin/"):
                    assert (answer.status_code, problem) == (403, "login_needed"), (method, path)
                else:
                    assert answer.status_code not in (401, 403, 500), (method, path, answer.text)
            seen.add(scope)
    assert seen == set(SCOPES)
    assert status(service, all_of_it) == 200


FOR_LOGINS = {
    ("post", f"/api/v1{path}")
    for path in ("/keys", "/logout", "/logout/everywhere", "/password", "/email/verification")
} | {
    (method, f"/api/v1{path}")
    for method, path in (
        ("patch", "/tenant"),
        ("patch", "/tenant/members/{user_id}"),
        ("delete", "/tenant/members/{user_id}"),
        ("post", "/tenant/leave"),
        ("post", "/tenant/invitations"),
        ("delete", "/tenant/invitations/{invitation_id}"),
        ("post", "/invitations/accept"),
        ("post", "/tenants/{tenant_id}/switch"),
        ("post", "/credits/transfers"),
        ("post", "/tenant/erase"),
        ("post", "/me/erase"),
        ("get", "/sessions"),
        ("delete", "/sessions/{session_id}"),
    )
}
"""A stolen key must not make itself a successor, nor take the account over."""
