"""Everybody who must not get in, at every route: what the owner can do, they can't, and they can't tell why.

Each row of `rows.py` succeeds for the owner before anybody else is tried, and where a thing was tried at, once more
afterwards: what was refused was there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from _pytest.mark import ParameterSet

from backend.identity import new_id
from tests.backend.matrix.document import ids_asked
from tests.backend.matrix.rows import ROWS, Role, Row
from tests.backend.matrix.things import Ids
from tests.backend.matrix.world import World, shows
from tests.service import Person

PROTECTED = [row for row in ROWS if not row.open]
OF_A_THING = [row for row in PROTECTED if row.of and row.role != "operator"]
OF_NOTHING = [row for row in ROWS if not row.of and row.role != "operator"]
ROLE_CODES = {"role_needed", "operator_needed"}

CHANGING = {"date", "x-request-id", "ratelimit"}
"""Headers that differ from one answer to the next."""

GONE = 1_000_000_000
WAYS_IN: dict[str, Callable[[World], dict[str, str]]] = {
    "anonymous": lambda world: {},
    "expired token": lambda world: {"Authorization": f"Bearer {world.token(exp=GONE)}"},
    "wrong audience": lambda world: {"Authorization": f"Bearer {world.token(aud='another')}"},
    "ended login": lambda world: {"Authorization": f"Bearer {world.ended_login}"},
    "revoked key": lambda world: {"Authorization": f"Key {world.revoked_key}"},
    "expired key": lambda world: {"Authorization": f"Key {world.expired_key}"},
}


def named(rows: Iterable[Row]) -> list[ParameterSet]:
    return [pytest.param(row, id=str(row)) for row in rows]


def bare(answer: httpx.Response, asked: Ids | None = None) -> tuple[int, Any, dict[str, str]]:
    """What an answer says, but for its number, its time, and the very words that were `asked` for."""
    text = answer.text
    for name, value in (asked or {}).items():
        text = text.replace(value, name)
    said = json.loads(text) if text else {}
    if answer.is_error and said:
        assert said.pop("request_id") == answer.headers["x-request-id"]
    return answer.status_code, said, {k: v for k, v in answer.headers.items() if k not in CHANGING}


def assert_like_a_random_id(world: World, row: Row, person: Person, ids: Ids) -> None:
    """Where a route names several things: also when only some are foreign and the rest the person's own."""
    names = sorted(row.places & set(ids))
    assert names
    own = world.thing(row, person) if len(names) > 1 else {}
    for some in [some for length in range(1, len(names) + 1) for some in combinations(names, length)]:
        asked = [own | {name: ids[name] for name in some}, own | {name: str(uuid4()) for name in some}]
        foreign, random = (world.call(row, person, each) for each in asked)
        assert foreign.status_code == 404, f"{some}: {foreign.status_code} {foreign.text}"
        assert bare(foreign, asked[0]) == bare(random, asked[1])
        assert "404" in world.operation(row)["responses"]


@pytest.mark.parametrize("row", named(ROWS))
def test_the_owner_succeeds(world: World, row: Row) -> None:
    world.succeeds(row)


@pytest.mark.parametrize("row", named(OF_A_THING))
def test_for_another_tenant_a_thing_is_not_there(world: World, row: Row) -> None:
    world.succeeds(row)
    ids = world.thing(row)
    with world.untouched(world.tenant):
        assert_like_a_random_id(world, row, world.stranger, ids)
    assert world.call(row, world.sender(row), ids).status_code == row.success


@pytest.mark.parametrize("row", named(row for row in OF_A_THING if not row.lesser_roles))
def test_for_another_member_a_thing_is_not_there(world: World, row: Row) -> None:
    """But for what is the tenant's."""
    world.succeeds(row)
    ids = world.thing(row)
    if row.shared:
        assert world.call(row, world.member, ids).status_code == row.success
        return
    with world.untouched(world.scope(world.owner)):
        assert_like_a_random_id(world, row, world.member, ids)
    assert world.call(row, world.sender(row), ids).status_code == row.success


@pytest.mark.parametrize("row", named(OF_NOTHING))
def test_another_tenant_is_shown_nothing_of_the_owner_s(world: World, row: Row) -> None:
    world.succeeds(row)
    person = world.newcomer() if row.open or row.role == "owner" else world.stranger
    if row.ends_login and not row.open and row.role != "owner":
        person = world.colleague("member", world.stranger)
    foreign = world.ids(world.tenant) - world.ids(world.scope(person))
    with world.untouched(world.tenant):
        assert_shows_none_of(world, row, person, foreign)


@pytest.mark.parametrize("row", named(row for row in OF_NOTHING if not (row.open or row.lesser_roles or row.shared)))
def test_another_member_is_shown_nothing_of_the_owner_s(world: World, row: Row) -> None:
    world.succeeds(row)
    person = world.colleague("member") if row.ends_login else world.member
    owner = world.scope(world.owner)
    foreign = world.ids(owner) - world.ids(world.scope(person))
    with world.untouched(owner):
        assert_shows_none_of(world, row, person, foreign)


def assert_shows_none_of(world: World, row: Row, person: Person, foreign: set[UUID]) -> None:
    """An id in the query, as of a filter, tells no more if it is the owner's than if it is nobody's."""
    assert foreign
    answer = world.call(row, person)
    assert answer.status_code == row.success, answer.text
    assert not shows(answer, foreign)
    for name in ids_asked(world.document, world.operation(row), "query"):
        asked = [{name: world.known(name) or str(max(foreign))}, {name: str(new_id())}]
        answers = [world.call(row, person, query=query) for query in asked]
        assert not shows(answers[0], foreign)
        if name != "cursor":  # a place in one's own list
            assert bare(answers[0], asked[0]) == bare(answers[1], asked[1])


@pytest.mark.parametrize(
    ("row", "role"),
    [pytest.param(row, role, id=f"{row}-{role}") for row in PROTECTED for role in row.lesser_roles],
)
def test_a_lesser_role_is_refused(world: World, row: Row, role: Role) -> None:
    """Before the thing is looked for: the answer is the same for one that isn't there."""
    world.succeeds(row)
    ids, person = world.any_thing(row), world.somebody(role)
    with world.untouched(world.tenant):
        answers = [world.call(row, person, each) for each in (ids, {name: str(uuid4()) for name in ids})]
    assert answers[0].status_code == 403, answers[0].text
    assert answers[0].json()["code"] in ROLE_CODES
    assert bare(answers[0]) == bare(answers[1])
    assert "403" in world.operation(row)["responses"]


@pytest.mark.parametrize("row", named(PROTECTED))
def test_without_a_good_login_nobody_gets_in(world: World, row: Row) -> None:
    ids = world.any_thing(row)
    for way, make in WAYS_IN.items():
        headers = world.once(way, world.owner, lambda *_, make=make: make(world))
        answer = world.call(row, world.owner, ids, headers)
        assert answer.status_code == 401, f"{way}: {answer.text}"
        assert answer.headers["www-authenticate"] == "Bearer", way
        assert answer.headers["content-type"] == "application/problem+json", way
        assert row.method == "HEAD" or answer.json()["code"] == "token_invalid", way
    assert "401" in world.operation(row)["responses"]


def test_the_bad_tokens_are_bad_in_one_thing_only(world: World) -> None:
    headers = {"Authorization": f"Bearer {world.token()}"}
    assert world.service.client.get("/api/v1/me", headers=headers).status_code == 200


@pytest.mark.parametrize("row", named(PROTECTED))
def test_a_key_without_the_scope_is_refused(world: World, row: Row) -> None:
    (scope,) = {scope for scheme in world.operation(row)["security"] for scopes in scheme.values() for scope in scopes}
    key = world.key_without(scope, row.role == "operator")
    answer = world.call(row, world.owner, world.any_thing(row), {"Authorization": f"Key {key}"})
    assert answer.status_code == 403, answer.text
    assert f'scope="{scope}"' in answer.headers["www-authenticate"]
    assert row.method == "HEAD" or answer.json()["code"] == "scope_missing"
    assert "403" in world.operation(row)["responses"]
