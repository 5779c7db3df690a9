"""Server-sent events as a client hears them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.service import Person

Heard = tuple[str, int | None, dict[str, Any]]
"""(kind, number, data)."""


def told(person: Person, task_id: str, after: int = 0) -> Iterator[Heard]:
    """Each event as it comes, until the stream ends."""
    headers = person.headers | {"Last-Event-ID": str(after)}
    with person.client.stream("GET", f"/api/v1/tasks/{task_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
            elif "event" in fields:
                number = int(fields["id"]) if "id" in fields else None
                yield fields["event"], number, json.loads(fields["data"])
                fields = {}
