"""Links and tickets, which let in without a login: each opens what it was made for, to whom it was given."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import pytest

from tests.backend.matrix import things
from tests.backend.matrix.rows import ROWS, Row
from tests.backend.matrix.test_matrix import bare, named
from tests.backend.matrix.world import World
from tests.service import Person

LINKED = {"/api/v1/tasks/{task_id}/stems/{stem}", "/api/v1/tasks/{task_id}/archive"}
TICKETED = {"/api/v1/tasks/{task_id}/events"}
PASSED = LINKED | TICKETED
OPENED = [row for row in ROWS if row.path in PASSED]


def test_these_are_the_routes_that_take_passes(world: World) -> None:
    takes: dict[str, set[str]] = {"signature": set(), "ticket": set()}
    for path, methods in world.document["paths"].items():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                takes.get(parameter["name"], set()).add(path)
    assert takes == {"signature": LINKED, "ticket": TICKETED}


def passed(world: World, row: Row, person: Person) -> dict[str, str]:
    """The query that lets anybody in to a person's completed task."""
    ids = things.completed_task(world, person)
    if row.path in TICKETED:
        answer = person.post("/tickets", {"task_id": ids["task_id"]})
        return {"ticket": answer.json()["ticket"]}
    task = person.task(ids["task_id"])
    (link,) = (
        [task["archive_url"]] if "archive" in row.path else [s["url"] for s in task["stems"] if s["name"] == "vocals"]
    )
    return dict(parse_qsl(urlsplit(link).query))


@pytest.mark.parametrize("row", named(OPENED))
def test_a_pass_opens_its_owner_s(world: World, row: Row) -> None:
    ids = things.completed_task(world, world.owner)
    for headers in ({}, world.stranger.headers):
        answer = world.call(row, world.owner, ids, headers, passed(world, row, world.owner))
        assert answer.status_code == row.success, answer.text


@pytest.mark.parametrize("row", named(OPENED))
def test_a_stranger_s_pass_opens_nothing_of_the_owner_s(world: World, row: Row) -> None:
    ids = things.completed_task(world, world.owner)
    with world.untouched(world.tenant):
        for headers in ({}, world.stranger.headers):
            answers = [
                world.call(row, world.owner, each, headers, passed(world, row, world.stranger))
                for each in (ids, {"task_id": str(uuid4())})
            ]
            assert answers[0].status_code == 401, answers[0].text
            assert bare(answers[0]) == bare(answers[1])


@pytest.mark.parametrize("row", named(row for row in OPENED if row.path in LINKED))
def test_a_link_says_whose_it_is_and_can_t_say_otherwise(world: World, row: Row) -> None:
    ids = things.completed_task(world, world.owner)
    good, theirs = passed(world, row, world.owner), passed(world, row, world.stranger)
    for name in good:
        changed = str(int(good[name]) + 1) if good[name].isdigit() else theirs[name]
        answer = world.call(row, world.owner, ids, {}, good | {name: changed})
        assert answer.status_code == 401, f"{name}: {answer.text}"


@pytest.mark.parametrize("row", named(OPENED))
def test_a_pass_for_one_task_opens_no_other(world: World, row: Row) -> None:
    other = things.cancelled_task(world, world.owner)
    assert world.call(row, world.owner, other, {}, passed(world, row, world.owner)).status_code == 401
