"""Each listing with ten, ten thousand and a million rows: its time must not grow, and its plan says why it does not."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import event, literal, literal_column

from backend.app import create_app
from backend.clock import database_now
from backend.db import Database
from backend.models import ApiKey, Step, Task, Transfer, Upload, WebhookDelivery
from bench.figures import markdown
from bench.load.rows import Bulk, made_id
from bench.load.scenarios import SONG
from bench.load.service import Api

TIMES = 15
HOOK = {"url": "http://127.0.0.1:9/", "events": ["task.completed"]}


@dataclass(frozen=True, slots=True)
class Person:
    """With so many of everything: tasks, songs, entries of the ledger, deliveries, keys that were revoked."""

    headers: dict[str, str]
    user_id: UUID
    webhook_id: str
    newest: str
    numbers: range

    def paths(self) -> dict[str, str]:
        middle = made_id(self.numbers[len(self.numbers) // 2])
        return {
            "/history?limit=10": "/history?limit=10",
            "the same, from the middle on": f"/history?limit=10&cursor={middle}",
            "the same, of a state that none has": "/history?limit=10&status=failed",
            "/uploads?limit=10": "/uploads?limit=10",
            "/credits/entries?limit=10": "/credits/entries?limit=10",
            "/webhooks/{id}/deliveries?limit=10": f"/webhooks/{self.webhook_id}/deliveries?limit=10",
            "the same, of a state that one has": f"/webhooks/{self.webhook_id}/deliveries?limit=10&status=pending",
            "/keys, all revoked but one": "/keys",
            "/status/{id}": f"/status/{self.newest}",
        }


def tables(api: Api, sizes: Sequence[int]) -> Iterator[str]:
    """Times by size, then the plans at the largest."""
    database = Database(api.settings)
    began = time.perf_counter()
    people = _people(api, database, sizes)
    yield f"{sum(sizes):,} rows in each of 6 tables, made in {time.perf_counter() - began:.0f} s."
    rows = []
    for title in people[0].paths():
        asked = [person.paths()[title] for person in people]
        rows.append([title, *(_median(api, path, person) for path, person in zip(asked, people, strict=True))])
    yield markdown([f"median ms, {api.title}", *(f"{size:,} rows" for size in sizes)], rows)
    plans = asyncio.run(_plans(api, people[-1]))
    yield "\n".join(f"- `{title}`: {plan}" for title, plan in plans)
    database.dispose()


def _people(api: Api, database: Database, sizes: Sequence[int]) -> list[Person]:
    people, first = [], 1
    for size in sizes:
        headers = api.register(f"load{size}@example.com")
        newest = api.post("/separate", SONG, headers)["task_id"]
        webhook_id = api.post("/webhooks", HOOK, headers)["id"]
        api.post(f"/webhooks/{webhook_id}/test", {}, headers)
        api.post("/keys", {"name": "load", "scopes": ["read"]}, headers)
        user_id = UUID(api.client.get("/me", headers=headers).json()["id"])
        numbers = range(first, first + size - 1)
        people.append(Person(headers, user_id, webhook_id, newest, numbers))
        first = numbers.stop
    with Bulk(database) as bulk:
        for person in people:
            _fill(bulk, person)
    return people


def _fill(bulk: Bulk, person: Person) -> None:
    numbers, task_id = person.numbers, UUID(person.newest)
    now = database_now()
    bulk.copy(Task, Task.id == task_id, numbers, status=literal("cancelled"), finished_at=now)
    bulk.copy(Step, Step.task_id == task_id, numbers, "task_id")
    bulk.copy(Upload, Upload.user_id == person.user_id, numbers, sample=literal(False))
    bulk.copy(Transfer, (Transfer.user_id == person.user_id) & (Transfer.kind == "grant"), numbers)
    sent = {"status": literal("delivered"), "next_at": literal_column("NULL"), "finished_at": now}
    bulk.copy(WebhookDelivery, WebhookDelivery.webhook_id == UUID(person.webhook_id), numbers, **sent)
    old = {"revoked_at": now, "prefix": literal_column("'old_' || numbers.n")}
    bulk.copy(ApiKey, ApiKey.user_id == person.user_id, numbers, **old)


def _median(api: Api, path: str, person: Person) -> str:
    taken = []
    for _ in range(TIMES):
        began = time.perf_counter()
        api.client.get(path, headers=person.headers).raise_for_status()
        taken.append(time.perf_counter() - began)
    return f"{1000 * statistics.median(taken):.1f}"


async def _plans(api: Api, person: Person) -> list[tuple[str, str]]:
    """Of the statements with a LIMIT or of keys, as the service itself sends them."""
    app = create_app(api.settings)
    database: Database = app.state.wiring.database
    found = []
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://here/api/v1", headers=person.headers) as client:
        for title, path in person.paths().items():
            with _listening(database) as statements:
                (await client.get(path)).raise_for_status()
            lists = [each for each in statements if " LIMIT " in each[0] or "FROM api_key" in each[0]]
            found += [(title, _plan(database, *statement)) for statement in lists]
    app.state.rate_limits.close()
    database.dispose()
    return found


@contextmanager
def _listening(database: Database) -> Iterator[list[tuple[str, Any]]]:
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    yield statements
    event.remove(database.engine, "before_cursor_execute", note)


def _plan(database: Database, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN (COSTS OFF) "
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql(explain + statement, parameters).fetchall()
    lines = [str(row[-1]).strip() for row in rows]
    return "; ".join(line for line in lines if not line.startswith(("Index Cond", "Join Filter")))
