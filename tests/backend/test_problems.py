"""Errors in one shape, limits, and a database that is away."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from tests.servers import free_port, on_both
from tests.service import InProcess, MakeService, Person

MEMBERS = {"type", "title", "status", "detail", "code", "advice", "request_id"}


def assert_problem(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(answer.json()) >= MEMBERS
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_errors_of_the_framework_are_problems_too(service: InProcess, demo: Person) -> None:
    client = service.client
    assert_problem(client.get("/nowhere"), 404, "route_not_found")
    assert_problem(client.get("/api/v1/login"), 405, "method_not_allowed")
    assert_problem(demo.get("/status/seven"), 404, "task_not_found")
    assert_problem(demo.get(f"/status/{uuid4()}"), 404, "task_not_found")
    assert_problem(demo.get("/history?limit=0"), 422, "invalid_request")
    assert_problem(client.post("/api/v1/login", content=b"{"), 422, "invalid_request")
    fields = demo.post("/separate", {"filename": "warmup.mp3", "speed": 2}).json()["errors"]
    assert [field["field"] for field in fields] == ["body.speed"]


def test_a_request_keeps_the_id_that_its_sender_gave(service: InProcess) -> None:
    given = service.client.get("/api/v1/me", headers={"X-Request-ID": "mine-7"})
    assert given.headers["x-request-id"] == given.json()["request_id"] == "mine-7"
    ids = set()
    for bad in ("", "x" * 65, "a b", "<script>"):
        made = service.client.get("/healthz", headers={"X-Request-ID": bad}).headers["x-request-id"]
        assert made != bad
        ids.add(made)
    assert len(ids) == 4


def test_our_own_mistake_is_a_problem_with_an_id(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        session.execute(text("ALTER TABLE upload RENAME COLUMN codec TO something"))
    answer = demo.get("/uploads")
    assert answer.status_code in (500, 503)
    assert set(answer.json()) >= MEMBERS
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert "codec" not in answer.text


def test_the_third_song_within_half_a_minute_waits(make_service: MakeService, warmup: Path) -> None:
    service = make_service(limit={"separate": "2 per 30 seconds"})
    person = service.login()
    upload_id = person.upload(warmup)
    for _ in range(2):
        person.submit(upload_id)
    for path, body in (("/separate", {"upload_id": upload_id}), ("/tasks", {"upload_ids": [upload_id]})):
        answer = person.post(path, body)
        assert_problem(answer, 429, "too_many_requests")
        assert 1 <= int(answer.headers["retry-after"]) <= 31
    assert person.money() == (8, 2)
    assert len(person.get("/history").json()) == 2
    other = service.register("other@example.com")
    assert other.post("/separate", {"filename": "warmup.mp3"}).status_code == 202


def test_logging_in_has_a_limit(make_service: MakeService) -> None:
    service = make_service(limit={"login": "3 per minute"})
    bodies = [{"email": "test@example.com", "password": f"guess {number}"} for number in range(4)]
    answers = [service.client.post("/api/v1/login", json=body) for body in bodies]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1
    form = {"username": "test@example.com", "password": "password123"}
    assert service.client.post("/api/v1/token", data=form).status_code == 429


def test_limits_are_counted_in_redis(make_service: MakeService, redis_url: str) -> None:
    """Two API processes that share a store share the count."""
    limit = {"separate": "1 per 30 seconds", "storage": redis_url}
    first, second = make_service(limit=limit), make_service(limit=limit)
    person = first.login()
    assert person.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
    answer = second.client.post("/api/v1/separate", json={"filename": "warmup.mp3"}, headers=person.headers)
    assert_problem(answer, 429, "too_many_requests")


def test_a_limit_store_that_is_away_stops_nobody(make_service: MakeService) -> None:
    service = make_service(limit={"separate": "1 per 30 seconds", "storage": f"redis://127.0.0.1:{free_port()}/0"})
    person = service.login()
    assert person.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
    assert person.post("/separate", {"filename": "warmup.mp3"}).status_code == 429


def test_a_database_that_is_away(make_service: MakeService) -> None:
    url = f"postgresql+psycopg://postgres@127.0.0.1:{free_port()}/nowhere"
    service = make_service(db={"url": url})
    body = {"email": "test@example.com", "password": "password123"}
    answer = service.client.post("/api/v1/login", json=body)
    assert_problem(answer, 503, "database_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    ready = service.client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["failing"][0].startswith("database")
    assert service.client.get("/healthz").status_code == 200


@on_both
def test_a_storm_of_requests_is_answered(service: InProcess, demo: Person) -> None:
    """More requests at once than there are connections to the database."""
    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(lambda _: demo.get("/me").status_code, range(180)))
    assert answers == [200] * 180


@pytest.mark.parametrize("last", ["-1", "x", "99999999999999999999"])
def test_a_senseless_last_event_id(service: InProcess, demo: Person, last: str, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    assert_problem(demo.get(f"/tasks/{task_id}/events", headers={"Last-Event-ID": last}), 422, "invalid_request")


def test_a_body_that_is_held_in_memory_stays_small(service: InProcess) -> None:
    json_header = {"Content-Type": "application/json"}
    said = service.client.post("/api/v1/login", content=b"[" * (2 << 20), headers=json_header)
    assert_problem(said, 413, "body_too_large")

    def unsaid() -> Iterator[bytes]:
        for _ in range(32):
            yield b"[" * (1 << 16)

    assert_problem(service.client.post("/api/v1/login", content=unsaid(), headers=json_header), 413, "body_too_large")


def test_a_form_s_password_is_no_longer_than_another(service: InProcess) -> None:
    form = {"username": "test@example.com", "password": "x" * 10_000}
    assert_problem(service.client.post("/api/v1/token", data=form), 401, "login_refused")
