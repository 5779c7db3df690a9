"""Whatever changes somebody's rights, money, limits or settings leaves one entry in the audit log, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, select

from backend.models import AuditEntry, Base
from tests.backend.matrix.rows import PREFIX, ROWS, Row
from tests.backend.matrix.test_matrix import named
from tests.backend.matrix.world import World

RECORDED_TAGS = {"account", "tenant", "admin", "webhooks", "credits"}
UNRECORDED = {
    ("POST", f"{PREFIX}{path}"): why
    for path, why in {
        "/refresh": "goes on with a login; a token that is shown twice is recorded",
        "/password/forgotten": "sends a letter, the same for nobody",
        "/email/verification": "sends a letter",
        "/purchases": "asks for a payment; that it was paid is recorded",
        "/webhooks/{webhook_id}/test": "sends a message",
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay": "sends a message again",
        "/erasures/verify": "looks at a receipt",
    }.items()
}
COUNTERS = {"login_guard", "login_session"}
"""What a try that fails leaves behind, and what preparing one does."""


def recorded(row: Row) -> bool:
    return row.changes and row.route not in UNRECORDED and row.path.startswith(PREFIX)


class Refused(Exception):
    """The log can't be written."""


@contextmanager
def full_log() -> Iterator[None]:
    def refuse(*_: Any) -> None:
        raise Refused

    event.listen(AuditEntry, "before_insert", refuse)
    try:
        yield
    finally:
        event.remove(AuditEntry, "before_insert", refuse)


def everything(world: World) -> list[str]:
    with world.service.wiring.database.read() as session:
        return sorted(
            f"{table.name}: {tuple(row)}"
            for table in Base.metadata.sorted_tables
            if table.name not in COUNTERS
            for row in session.execute(select(table))
        )


def entries(world: World) -> list[AuditEntry]:
    with world.service.wiring.database.read() as session:
        return list(session.scalars(select(AuditEntry).order_by(AuditEntry.id)))


@pytest.mark.parametrize("row", named(row for row in ROWS if recorded(row)))
def test_an_act_and_its_entry_are_one(world: World, row: Row) -> None:
    if not RECORDED_TAGS & set(world.operation(row)["tags"]):
        return
    sender = world.sender(row)
    ids, sender_id = world.thing(row), world.scope(sender).user_id
    before = everything(world)
    with full_log():
        refused = world.call(row, sender, ids)
    assert refused.status_code == 500, "it was done without an entry"
    assert everything(world) == before, "without its entry nothing is done"
    known = {entry.id for entry in entries(world)}
    answer = world.call(row, sender, ids)
    assert answer.status_code == row.success, answer.text
    (entry,) = (entry for entry in entries(world) if entry.id not in known)
    assert entry.request_id == answer.headers["x-request-id"]
    # An erased person's address is forgotten in the very act.
    assert entry.address == (None if row.path.endswith("/erase") and row.role != "operator" else "127.0.0.1")
    assert entry.actor_kind == ("operator" if row.role == "operator" else "user")
    assert entry.actor_id is not None
    assert row.open or entry.actor_id == sender_id


def test_what_is_not_recorded_is_there(world: World) -> None:
    """A reason for a route that is gone would hide the next one of its name."""
    paths = world.document["paths"]
    assert UNRECORDED.keys() <= {(method.upper(), path) for path, methods in paths.items() for method in methods}
