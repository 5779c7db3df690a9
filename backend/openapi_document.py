"""The OpenAPI document, mended where FastAPI's own is not what we answer: refusals of bodies, and links.

A link says whose id an answer holds: a client, and a test that walks the API, can go from what was made to every
call about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from backend.errors import describes

METHODS = ("get", "put", "post", "patch", "delete")
_REFUSED = "#/components/schemas/HTTPValidationError"


def install(app: FastAPI) -> None:
    """After every route is there."""
    made_by_fastapi = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            _mend(made_by_fastapi())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _mend(document: dict[str, Any]) -> None:
    for _, operation in _operations(document):
        answers = operation["responses"]
        if "422" in answers and _REFUSED in str(answers["422"]):
            answers["422"] = _described(422)
        if "requestBody" in operation:
            answers.setdefault("422", _described(422))
            answers.setdefault("413", _described(413))
    for unused in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(unused, None)
    _link(document)


def _described(status: int) -> dict[str, Any]:
    described = describes(status)[status]
    described.pop("model", None)
    return described


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method in METHODS:
            if method in item:
                yield path, item[method]


def _link(document: dict[str, Any]) -> None:
    """`id` in an answer of /keys, or `task_id` in any, leads to the routes below /keys/{key_id} and {task_id}."""
    targets: dict[str, list[tuple[str, str]]] = {}
    for path, operation in _operations(document):
        names = re.findall(r"\{(\w+_id)\}", path)
        if len(names) == 1:
            targets.setdefault(names[0], []).append((path, operation["operationId"]))
    for path, operation in _operations(document):
        for status, answer in operation["responses"].items():
            if not status.startswith("2"):
                continue
            for name, ways in targets.items():
                for field in _fields(document, answer) & {"id", name}:
                    links = {
                        target: {"operationId": target, "parameters": {name: f"$response.body#/{field}"}}
                        for place, target in ways
                        if field == name or re.sub(r"/\{\w+\}.*", "", path) == place.partition("/{")[0]
                    }
                    if links:
                        answer.setdefault("links", {}).update(links)


def _fields(document: dict[str, Any], answer: dict[str, Any]) -> set[str]:
    schema = answer.get("content", {}).get("application/json", {}).get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    return set(document["components"]["schemas"].get(name, schema).get("properties", {}))
