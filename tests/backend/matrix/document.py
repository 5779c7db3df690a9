"""What the OpenAPI document says of ids."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def ids_asked(document: dict[str, Any], operation: dict[str, Any], place: str) -> list[str]:
    """Names of the ids that a route takes in its path or its query."""
    parameters = operation.get("parameters", ())
    return [each["name"] for each in parameters if each["in"] == place and is_uuid(document, each["schema"])]


def is_uuid(document: dict[str, Any], schema: dict[str, Any]) -> bool:
    return any(
        part.get("format") == "uuid" or ("items" in part and is_uuid(document, part["items"]))
        for part in alternatives(document, schema)
    )


def alternatives(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    yield schema
    for part in [*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ())]:
        yield from alternatives(document, part)
