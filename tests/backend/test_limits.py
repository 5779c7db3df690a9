"""Limits: on every route, for whoever asks, over all processes, and told in the draft's fields."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from limits import parse
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from pydantic import ValidationError
from sqlalchemy import text

from backend.audit.service import COMMAND
from backend.rate_counters import SqliteStorage
from backend.rate_limit import PROBES
from backend.settings import ROOT, Settings
from backend.tenant import limits
from backend.tenant.limits import Limits
from tests.service import InProcess, MakeService, Person

POLICY = re.compile(r'"([a-z0-9-]+)";q=([0-9]+);w=([1-9][0-9]*)')
STANDING = re.compile(r'"([a-z0-9-]+)";r=([0-9]+);t=([0-9]+)')
ONE = "1 per hour"


@pytest.fixture(autouse=True)
def within_one_window() -> None:
    """Windows begin with the hours of the clock: what was counted before hardly weighs anything behind one."""
    time.sleep(30 if time.time() % 3600 > 3570 else 0)


def policies(answer: httpx.Response) -> dict[str, tuple[int, int]]:
    """(quota, seconds) by policy."""
    return _items(answer.headers["ratelimit-policy"], POLICY)


def standings(answer: httpx.Response) -> dict[str, tuple[int, int]]:
    """(left, seconds until there is more) by policy."""
    return _items(answer.headers["ratelimit"], STANDING)


def _items(field: str, form: re.Pattern[str]) -> dict[str, tuple[int, int]]:
    found = {}
    for item in field.split(", "):
        match = form.fullmatch(item)
        assert match is not None, field
        found[match[1]] = (int(match[2]), int(match[3]))
    return found


def assert_refused(answer: httpx.Response, policy: str) -> None:
    assert answer.status_code == 429, f"{answer.request.method} {answer.request.url}: {answer.status_code}"
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["violated-policies"]) == ("too_many_requests", [policy])
    assert body["request_id"] == answer.headers["x-request-id"]
    assert policies(answer).keys() == standings(answer).keys()
    left, seconds = standings(answer)[policy]
    assert left == 0
    assert 1 <= int(answer.headers["retry-after"]) == max(1, seconds) <= policies(answer)[policy][1] + 1


def routes(service: InProcess) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(method, path with ids of nothing, what the document says) of every route."""
    document = service.client.get("/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), re.sub(r"\{\w+\}", lambda _: str(uuid4()), path), operation


def test_every_route_but_the_probes_has_an_end(make_service: MakeService) -> None:
    service = make_service(limit={"address": "2 per hour"})
    known = list(routes(service))
    assert len(known) > 20
    service.client.get("/docs")
    refused = 0
    for method, path, operation in known:
        for _ in range(3):
            answer = service.client.request(method, path)
            if path in PROBES:
                assert answer.status_code in (200, 503)
                assert "ratelimit" not in answer.headers
        if path not in PROBES:
            assert_refused(answer, "address")
            assert "429" in operation["responses"], f"{method} {path} does not say that it has a limit"
            refused += 1
    assert refused == len(known) - len([path for _, path, _ in known if path in PROBES])
    for path in ("/docs", "/openapi.json", "/", "/nowhere", "/docs/assets/swagger-ui.css"):
        assert_refused(service.client.get(path), "address")


@pytest.mark.parametrize("policy", ["user", "tenant"])
def test_every_protected_route_counts_for_who_asks(make_service: MakeService, policy: str) -> None:
    service = make_service(limit={policy: "2 per hour"})
    demo, other = service.login(), service.register("other@example.com")
    protected = [(method, path) for method, path, operation in routes(service) if operation.get("security")]
    assert len(protected) > 15
    first = [demo.get("/me") for _ in range(2)]
    assert [answer.status_code for answer in first] == [200, 200]
    assert [standings(answer)[policy][0] for answer in first] == [1, 0]
    for method, path in protected:
        assert_refused(service.client.request(method, path, headers=demo.headers), policy)
    assert other.get("/me").status_code == 200
    assert service.client.get("/api/v1/me").status_code == 401  # nobody's, counted for the address alone


def test_a_key_counts_for_itself_and_for_its_user(make_service: MakeService) -> None:
    service = make_service(limit={"key": "2 per hour", "user": "6 per hour"})
    demo = service.login()
    made = [demo.post("/keys", {"name": "studio", "scopes": ["read"]}).json()["key"] for _ in range(2)]
    for key in made:
        by_key = {"Authorization": f"Key {key}"}
        asked = [service.client.get("/api/v1/me", headers=by_key) for _ in range(3)]
        assert [answer.status_code for answer in asked] == [200, 200, 429]
        assert_refused(asked[-1], "key")
    assert_refused(demo.get("/me"), "user")


def test_a_limit_with_two_windows(make_service: MakeService) -> None:
    service = make_service(limit={"user": "3 per hour; 100 per day"})
    demo = service.login()
    answers = [demo.get("/me") for _ in range(4)]
    assert policies(answers[0])["user-3600s"] == (3, 3600)
    assert policies(answers[0])["user-86400s"] == (100, 86400)
    assert standings(answers[2])["user-3600s"][0] == 0 and standings(answers[2])["user-86400s"][0] == 97
    assert_refused(answers[3], "user-3600s")


def test_submitting_and_logging_in_say_their_own_limits(make_service: MakeService) -> None:
    service = make_service(limit={"separate": "1 per 2 hours", "login": ONE})
    demo = service.login()
    first = demo.post("/separate", {"filename": "warmup.mp3"})
    assert policies(first)["separate"] == (1, 7200) and standings(first)["separate"][0] == 0
    assert_refused(demo.post("/separate", {"filename": "warmup.mp3"}), "separate")
    body = {"email": "nobody@example.com", "password": "a wrong password"}
    refused = service.client.post("/api/v1/login", json=body)
    assert refused.status_code == 401 and standings(refused)["login"][0] == 0
    assert_refused(service.client.post("/api/v1/login", json=body), "login")


def test_links_and_tickets_count_for_their_owner(make_service: MakeService) -> None:
    service = make_service(limit={"user": "5 per hour"})
    demo = service.login()
    task_id = demo.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"]
    assert service.work()
    link = demo.task(task_id)["archive_url"]
    ticket = demo.post("/tickets", {"task_id": task_id}).json()["ticket"]
    assert service.client.get(link).status_code == 200
    assert service.client.get(link).status_code == 200
    assert_refused(service.client.get(link), "user")
    assert_refused(service.client.get(f"/api/v1/tasks/{task_id}/events", params={"ticket": ticket}), "user")
    with service.wiring.database.read() as session:
        assert session.execute(text("SELECT count(*) FROM ticket")).scalar() == 1  # it can still be used


@pytest.mark.parametrize("policy", ["key", "tenant"])
def test_a_ticket_counts_as_what_it_was_made_for(make_service: MakeService, policy: str) -> None:
    """In its key's window; and in the tenant's, by the tenant's own limit where it has one."""
    service = make_service(limit={"key": "3 per hour"} if policy == "key" else {})
    demo = service.login()
    task_id = demo.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"]
    assert demo.post(f"/tasks/{task_id}/cancel").is_success
    program = Person(service.client, "", demo.post("/keys", {"name": "x", "scopes": ["read"]}).json()["key"])
    tenant_id = service.scope(demo).tenant_id
    if policy == "tenant":
        with service.wiring.database.write() as session:
            limits.set(session, COMMAND, tenant_id, Limits(requests="3 per hour"))
    first, second = (program.post("/tickets", {"task_id": task_id}).json()["ticket"] for _ in range(2))
    heard = service.client.get(f"/api/v1/tasks/{task_id}/events", params={"ticket": first})
    assert (heard.status_code, standings(heard)[policy][0]) == (200, 0)
    assert_refused(service.client.get(f"/api/v1/tasks/{task_id}/events", params={"ticket": second}), policy)
    with service.wiring.database.read() as session:
        assert session.execute(text("SELECT count(*) FROM ticket")).scalar() == 1  # it can still be used


def test_who_waits_as_told_is_served(make_service: MakeService) -> None:
    service = make_service(limit={"user": "3 per second"})
    demo = service.login()
    for _ in range(2):
        answer = demo.get("/me")
        for _ in range(100):
            if answer.status_code == 429:
                break
            answer = demo.get("/me")
        assert_refused(answer, "user")
        time.sleep(int(answer.headers["retry-after"]))
        assert demo.get("/me").status_code == 200


def test_a_proxy_is_believed_when_it_is_named(make_service: MakeService) -> None:
    plain, named = (make_service(limit={"address": ONE, "trusted_proxies": proxies}) for proxies in ("", "127.0.0.1"))

    def ask(service: InProcess, forwarded: str) -> int:
        return service.client.get("/api/v1/models", headers={"X-Forwarded-For": forwarded}).status_code

    assert [ask(plain, address) for address in ("192.0.2.1", "192.0.2.2")] == [401, 429]
    assert [ask(named, address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")] == [401, 401, 429]
    assert ask(named, "198.51.100.7, 192.0.2.2") == 429  # what stands before the proxy's own word is the client's
    # Of IPv6 a customer has a whole network.
    assert [ask(named, f"2001:db8:0:{net}::{host}") for net, host in ((1, 1), (1, 2), (2, 1))] == [401, 429, 401]


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_processes_share_their_counts(make_service: MakeService, request: pytest.FixtureRequest, kind: str) -> None:
    storage = "sqlite://" if kind == "sqlite" else request.getfixturevalue("redis_url")
    limit = {"storage": storage, "user": "2 per hour", "separate": ONE}
    first, second = make_service(limit=limit), make_service(limit=limit)
    person = first.login()
    assert person.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
    again = second.client.post("/api/v1/separate", json={"filename": "warmup.mp3"}, headers=person.headers)
    assert_refused(again, "separate")
    assert_refused(person.get("/me"), "user")


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/models", "/nowhere"])
@pytest.mark.parametrize("shown", ["good", "bad", None])
def test_a_shared_store_hears_of_every_read(make_service: MakeService, path: str, shown: str | None) -> None:
    """Of who shows who they are only when that is known; of who turns out to be nobody, too."""
    service = make_service(limit={"storage": "sqlite://", "address": "2 per hour"})
    token = service.login().token if shown == "good" else "bad"
    headers = {} if shown is None else {"Authorization": f"Bearer {token}"}
    answers = [service.client.get(path, headers=headers) for _ in range(4)]
    assert not [answer for answer in answers[:2] if answer.status_code == 429]
    for answer in answers[2:]:
        assert_refused(answer, "address")


def test_counting_goes_on_without_the_store(make_service: MakeService, tmp_path: Path) -> None:
    """A file that is no database: this process counts by itself, and nobody is turned away for it."""
    broken = tmp_path / "counters.db"
    broken.write_bytes(b"this is no database " * 500)
    service = make_service(limit={"storage": f"sqlite://{broken}", "user": "2 per hour"})
    demo = service.login()
    assert [demo.get("/me").status_code for _ in range(3)] == [200, 200, 429]


def test_a_storage_that_is_none() -> None:
    with pytest.raises(ValidationError, match="is no place for counters"):
        Settings(_env_file=None, limit={"storage": "sqllite://"})  # type: ignore[arg-type]


@pytest.mark.parametrize("strategy", [MovingWindowRateLimiter, SlidingWindowCounterRateLimiter])
def test_the_file_counts_as_memory_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: Callable[[Any], Any]
) -> None:
    """The same random requests against `limits`' own store and ours, on a clock that both read."""
    chance, now = random.Random(7), [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    memory, file = MemoryStorage(), storage_from_string(f"sqlite://{tmp_path / 'counters.db'}")
    assert isinstance(file, SqliteStorage)
    ours, theirs = strategy(file), strategy(memory)
    item, answers = parse("5 per 10 seconds"), []
    for _ in range(600):
        now[0] += chance.choice([0.1, 0.3, 1.7])
        who = chance.choice("ab")
        answers.append(theirs.hit(item, who))
        assert ours.hit(item, who) is answers[-1]
        mine, other = ours.get_window_stats(item, who), theirs.get_window_stats(item, who)
        assert mine.remaining == other.remaining
        assert mine.reset_time == pytest.approx(other.reset_time)
    assert 100 < answers.count(True) < 500
    assert any(earlier and not later for earlier, later in pairwise(answers))
    now[0] += 1000
    assert ours.hit(item, "c")
    rows = file._opened().execute("SELECT (SELECT count(*) FROM entry) + (SELECT count(*) FROM counter)").fetchone()
    assert rows[0] == 1  # what is over is forgotten
    ours.clear(item, "c")
    assert ours.get_window_stats(item, "c").remaining == 5
    assert file.incr("key", 10) == 1 and file.incr("key", 10) == 2 and file.get("key") == 2 and file.check()
    assert file.get_expiry("key") == pytest.approx(now[0] + 10)
    assert file.reset() == 1 and file.get("key") == 0
    file.close()


HITS = """
import sys
from limits import parse, strategies
from limits.storage import storage_from_string
import backend.rate_counters
limiter = getattr(strategies, sys.argv[2])(storage_from_string(sys.argv[1]))
print(sum(limiter.hit(parse("100 per 100 days"), "everybody") for _ in range(60)))
"""


@pytest.mark.parametrize("strategy", [MovingWindowRateLimiter, SlidingWindowCounterRateLimiter])
def test_no_process_counts_past_another(tmp_path: Path, strategy: type) -> None:
    command = [sys.executable, "-c", HITS, f"sqlite://{tmp_path / 'counters.db'}", strategy.__name__]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sum(int(process.communicate()[0]) for process in processes) == 100
