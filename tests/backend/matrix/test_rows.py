"""The matrix has a row for every route, and no row says less of its route than the document does."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts

from backend.app import create_app
from tests.backend.matrix.document import alternatives, ids_asked, is_uuid
from tests.backend.matrix.rows import PLACE, ROWS, UNDOCUMENTED
from tests.backend.matrix.world import World

DOCUMENTED = [row for row in ROWS if row.method != "HEAD"]


def test_every_route_has_a_row(world: World) -> None:
    documented = {(method.upper(), path) for path, methods in world.document["paths"].items() for method in methods}
    rows = {row.route for row in DOCUMENTED}
    without_row, without_route = documented - rows, rows - documented
    assert not without_row, "see tests/backend/matrix/rows.py"
    assert not without_route
    assert len({str(row) for row in ROWS}) == len(ROWS), "tell rows of one route apart by `way`"


def test_no_route_hides_from_the_document(world: World) -> None:
    documented = {(method.upper(), path) for path, methods in world.document["paths"].items() for method in methods}
    app = create_app(world.service.settings)
    routes = {
        (method, re.sub(r":\w+}", "}", str(route.path)))
        for route in iter_route_contexts(app.routes)
        for method in getattr(route, "methods", None) or {"GET"}
    }
    assert routes - documented == UNDOCUMENTED


def test_what_is_open_is_what_the_rows_say(world: World) -> None:
    for row in DOCUMENTED:
        assert row.open == ("security" not in world.operation(row)), row


def test_what_a_route_calls_an_id_is_a_thing_of_its_row(world: World) -> None:
    """By the document, so that no row says `no id` of a route with one."""
    seen = 0
    for row in ROWS:
        path, body = uuids_of(world.document, world.operation(row))
        assert not path & set(row.fixed), f"{row}: an id is not fixed"
        for name in path | set(PLACE.findall(row.path)) - set(row.fixed):
            assert row.of is not None and name in world.any_thing(row), f"{row}: {name} is of no thing"
            seen += 1
        ways = [other for other in ROWS if other.route == row.route]
        for name in body:
            named = [other for other in ways if name in (other.json or {}) and other.of]
            assert any(PLACE.search(str(other.json[name])) for other in named), f"{row}: {name} names no thing"
            seen += 1
    assert seen > 20


def uuids_of(document: dict[str, Any], operation: dict[str, Any]) -> tuple[set[str], set[str]]:
    """Names of the ids in the path, and in the body."""
    asked = set(ids_asked(document, operation, "path"))
    body: set[str] = set()
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for schema in alternatives(document, content["schema"]):
            body |= {name for name, part in schema.get("properties", {}).items() if is_uuid(document, part)}
    return asked, body


@pytest.mark.parametrize(
    ("parameters", "body", "found"),
    [
        ([("task_id", "uuid"), ("stem", None), ("user_id", "uuid")], {}, ({"task_id", "user_id"}, set())),
        ([], {"upload_ids": {"type": "array", "items": {"format": "uuid"}}}, (set(), {"upload_ids"})),
        ([], {"to": {"anyOf": [{"format": "uuid"}, {"type": "null"}]}, "name": {}}, (set(), {"to"})),
        ([], {"to": {"$ref": "#/components/schemas/To"}}, (set(), {"to"})),
    ],
)
def test_ids_are_found_wherever_the_document_has_them(
    parameters: list[tuple[str, str | None]], body: dict[str, Any], found: tuple[set[str], set[str]]
) -> None:
    document = {"components": {"schemas": {"To": {"format": "uuid"}}}}
    operation = {
        "parameters": [{"name": name, "in": "path", "schema": {"format": kind}} for name, kind in parameters],
        "requestBody": {"content": {"application/json": {"schema": {"properties": body}}}},
    }
    assert uuids_of(document, operation) == found
