"""Who reads is not looked up each time, and who was thrown out is out all the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Engine, create_engine, event, text

from backend import momentary
from backend.db import Database
from backend.momentary import Momentary
from tests.service import InProcess, Person


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        found.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _looked_up(found: list[str]) -> int:
    return sum("login_session" in statement for statement in found)


def test_a_reader_is_looked_up_once_in_a_moment(
    service: InProcess, demo: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(momentary, "SECONDS", 60.0)
    demo.get("/me")
    with statements(service.wiring.database) as found:
        for _ in range(5):
            assert demo.get("/me").status_code == 200
    assert _looked_up(found) <= 1


def test_who_waits_is_told_from_one_look_at_the_line(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(momentary, "SECONDS", 60.0)
    tasks = [demo.submit(demo.upload(warmup)) for _ in range(3)]
    with statements(service.wiring.database) as found:
        assert [demo.task(task)["queue_position"] for task in tasks] == [0, 1, 2]
    assert sum("GROUP BY task.tenant_id" in statement for statement in found) == 1
    demo.post(f"/tasks/{tasks[0]}/cancel")
    assert [demo.task(task)["queue_position"] for task in tasks] == [None, 0, 1]


def test_who_changes_something_is_always_looked_up(service: InProcess, demo: Person) -> None:
    demo.get("/me")
    with statements(service.wiring.database) as found:
        assert demo.post("/tickets", {"task_id": str(UUID(int=1))}).status_code == 404
        assert demo.post("/tickets", {"task_id": str(UUID(int=1))}).status_code == 404
    assert _looked_up(found) >= 2


def test_a_token_that_is_known_is_good_as_a_bearer_s_alone(service: InProcess, demo: Person) -> None:
    demo.get("/me")
    for scheme in ("Key", "Basic", "Token"):
        headers = {"Authorization": f"{scheme} {demo.token}"}
        assert service.client.get("/api/v1/me", headers=headers).status_code == 401, scheme


def test_what_another_process_ends_has_ended_after_the_moment(
    service: InProcess, demo: Person, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(momentary, "SECONDS", 0.2)
    assert demo.get("/me").status_code == 200
    elsewhere: Engine = create_engine(database_url)
    with elsewhere.begin() as connection:
        connection.execute(text("DELETE FROM login_session"))
    elsewhere.dispose()
    time.sleep(0.25)
    assert demo.get("/me").status_code == 401


def test_what_is_committed_while_it_is_looked_up_counts(service: InProcess) -> None:
    known: Momentary[str] = Momentary()

    def question() -> str:
        with service.wiring.database.write():
            pass
        return "old"

    assert known.ask("who", question) == "old"
    assert known.get("who") is None
    assert known.ask("who", lambda: "new") == "new"
    assert known.get("who") == "new"


def test_it_holds_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(momentary, "MOST", 3)
    known: Momentary[int] = Momentary()
    for number in range(10):
        known.ask(str(number), lambda number=number: number)  # type: ignore[misc]
    assert sum(known.get(str(number)) is not None for number in range(10)) <= 3
