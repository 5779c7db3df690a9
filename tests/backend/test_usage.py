"""What people used, by person and day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from backend.clock import utc_now
from backend.credit import service as credit
from backend.identity import first_id
from backend.models import Task
from backend.usage import service as usage
from tests.colleagues import colleague, give, id_of, told
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person
from tests.walking import walk


def rows(person: Person, path: str = "/tenant/usage", **params: str) -> list[dict[str, Any]]:
    answer = person.get(path, params=params)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["days"])


@on_both
def test_use_is_counted_by_person_and_day(make_service: MakeService, warmup: Path) -> None:
    service = make_service()
    demo = service.login()
    member = colleague(service, demo, "member@example.com")
    give(service, demo, member, 3000)
    song = demo.upload(warmup)
    done, stopped = demo.submit(song), demo.submit(song)
    assert service.work()
    demo.post(f"/tasks/{stopped}/cancel")
    member.submit(member.upload(warmup))

    found = {row["email"]: row for row in rows(demo)}
    today, seconds = utc_now().date().isoformat(), demo.task(done)["duration"]
    assert found.keys() == {"test@example.com", "member@example.com"}
    mine = found["test@example.com"]
    assert (mine["day"], mine["user_id"]) == (today, id_of(demo))
    assert [mine[name] for name in ("submitted", "completed", "failed", "cancelled")] == [2, 1, 0, 1]
    assert abs(mine["seconds"] - 2 * seconds) < 1e-6
    assert mine["credits"] == 1
    assert rows(demo, "/me/usage") == [mine]
    assert rows(member, "/me/usage") == [found["member@example.com"]] == rows(demo, user_id=id_of(member))
    assert found["member@example.com"]["credits"] == 0

    refund(service, done)
    assert rows(demo, "/me/usage")[0]["credits"] == 0, "captured and given back"
    demo.delete(f"/tasks/{done}")
    assert rows(demo, "/me/usage")[0]["submitted"] == 2, "deleted tasks were used"


def refund(service: InProcess, task_id: str) -> None:
    row = service.row(task_id)
    with service.wiring.database.write() as session:
        credit.refund(session, row.tenant_id, row.id, "it was silent")


@on_both
def test_days_are_utc_and_both_ends_are_part_of_it(service: InProcess, demo: Person, warmup: Path) -> None:
    song = demo.upload(warmup)
    moments = [
        datetime(2026, 1, 30, 23, 59, 59, 999000, UTC),
        datetime(2026, 1, 31, 0, 0, 0, 0, UTC),
        datetime(2026, 1, 31, 23, 59, 59, 999000, UTC),
        datetime(2026, 2, 1, 0, 0, 0, 0, UTC),
    ]
    with service.wiring.database.write() as session:
        scope = service.scope(demo)
        for moment in moments:
            # Their hosts' clock is half an hour ahead of the database's.
            task = Task(id=first_id(moment + timedelta(minutes=30)), tenant_id=scope.tenant_id, user_id=scope.user_id)
            task.upload_id, task.source_name, task.seconds, task.price = UUID(song), "song.mp3", 60.0, 1000
            task.created_at = moment
            session.add(task)
            session.flush()
            walk(session, task.id, "failed", finished_at=moment)

    def days(first: str, last: str) -> list[tuple[str, int]]:
        found = demo.get("/tenant/usage", params={"from": first, "to": last}).json()
        assert (found["from"], found["to"]) == (first, last)
        return [(row["day"], row["failed"]) for row in found["days"]]

    assert days("2026-01-31", "2026-01-31") == [("2026-01-31", 2)]
    assert days("2026-01-30", "2026-02-01") == [("2026-02-01", 1), ("2026-01-31", 2), ("2026-01-30", 1)]


def test_periods(demo: Person, stranger: Person) -> None:
    today = utc_now().date()
    usual = demo.get("/tenant/usage").json()
    assert usual == {"from": (today - timedelta(days=29)).isoformat(), "to": today.isoformat(), "days": []}
    assert demo.get("/me/usage", params={"from": "2025-01-01", "to": "2026-01-01"}).status_code == 200
    for first, last in (("2025-01-01", "2026-01-02"), ("2026-01-02", "2026-01-01"), ("0001-01-01", "0001-01-02")):
        answer = demo.get("/me/usage", params={"from": first, "to": last})
        assert told(answer) == (422, "period_invalid"), (first, last)
    for last in ("0001-01-01", "9999-12-31"):
        assert told(demo.get("/me/usage", params={"to": last})) == (422, "period_invalid")
    assert told(demo.get("/me/usage", params={"to": "yesterday"})) == (422, "invalid_request")


def test_who_may_see_it(service: InProcess, demo: Person, stranger: Person, warmup: Path) -> None:
    member = colleague(service, demo, "member@example.com")
    demo.submit(demo.upload(warmup))
    assert told(member.get("/tenant/usage")) == (403, "role_needed")
    assert rows(member, "/me/usage") == rows(stranger) == rows(stranger, user_id=id_of(demo)) == []


def test_a_table_that_is_too_large_is_refused(monkeypatch: Any, demo: Person, warmup: Path) -> None:
    monkeypatch.setattr(usage, "MOST_ROWS", 0)
    assert rows(demo) == []
    demo.submit(demo.upload(warmup))
    assert told(demo.get("/tenant/usage")) == (422, "period_too_large")
