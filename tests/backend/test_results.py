"""Results on their way out: ranges, archives, signed links, tickets, live events, history."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from jose import jwt
from sqlalchemy import update

from backend.auth import link
from backend.clock import database_now
from backend.models import Ticket
from backend.way_in import Kind, WayIn
from tests.listening import Heard, told
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person


@pytest.fixture
def done(service: InProcess, demo: Person, warmup: Path) -> dict[str, Any]:
    """A completed task of the demo user."""
    task_id = demo.submit(demo.upload(warmup, "Đường về.mp3"))
    assert service.work()
    return demo.task(task_id)


def test_a_stem_and_its_ranges(service: InProcess, demo: Person, done: dict[str, Any]) -> None:
    path = f"/tasks/{done['task_id']}/stems/vocals"
    whole = demo.get(path)
    stem = next(stem for stem in done["stems"] if stem["name"] == "vocals")
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["content-length"] == str(stem["size"])
    assert hashlib.sha256(whole.content).hexdigest() == stem["sha256"]
    assert Path(stem["path"]).read_bytes() == whole.content
    assert "vocals.wav" in whole.headers["content-disposition"]

    part = demo.get(path, headers={"Range": "bytes=1000-1999"})
    assert part.status_code == 206
    assert part.headers["content-range"] == f"bytes 1000-1999/{stem['size']}"
    assert part.content == whole.content[1000:2000]
    tail = demo.get(path, headers={"Range": "bytes=-10"})
    assert (tail.status_code, tail.content) == (206, whole.content[-10:])
    beyond = demo.get(path, headers={"Range": f"bytes={stem['size']}-"})
    assert beyond.status_code == 416
    assert beyond.headers["content-range"] == f"bytes */{stem['size']}"


def test_the_archive_holds_every_file(service: InProcess, demo: Person, done: dict[str, Any]) -> None:
    answer = demo.get(f"/tasks/{done['task_id']}/archive")
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        names = {Path(name).name: name for name in archive.namelist()}
        assert set(names) == {"vocals.wav", "accompaniment.wav", "receipt.json"}
        for stem in done["stems"]:
            content = archive.read(names[f"{stem['name']}.wav"])
            assert hashlib.sha256(content).hexdigest() == stem["sha256"]
        assert json.loads(archive.read(names["receipt.json"])) == done["receipt"]


def test_stems_that_are_not_there(service: InProcess, demo: Person, done: dict[str, Any], warmup: Path) -> None:
    assert demo.get(f"/tasks/{done['task_id']}/stems/drums").json()["code"] == "stem_not_found"
    waiting = demo.submit(demo.upload(warmup))
    for path in ("stems/vocals", "archive"):
        answer = demo.get(f"/tasks/{waiting}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (409, "task_not_finished")


def test_signed_links_open_one_address(service: InProcess, demo: Person, done: dict[str, Any]) -> None:
    client = service.client
    links = [stem["url"] for stem in done["stems"]] + [done["archive_url"]]
    for url in links:
        assert client.get(url).status_code == 200
        assert client.get(url, headers={"Range": "bytes=0-9"}).status_code in (200, 206)

    good = links[0]
    query = {name: values[0] for name, values in parse_qs(urlsplit(good).query).items()}
    path = urlsplit(good).path
    claims = jwt.get_unverified_claims(demo.token)
    way_in = WayIn(UUID(claims["tenant"]), UUID(claims["sub"]), Kind.LOGIN, UUID(claims["sid"]))
    stranger_s = replace(way_in, id=uuid4())
    forged = [
        (path, query | {"signature": query["signature"][:-1] + ("0" if query["signature"][-1] != "0" else "1")}),
        (path, query | {"signature": ""}),
        (path, query | {"signature": "é"}),
        (path, query | {"expires": str(int(query["expires"]) + 1)}),
        (path, query | {"owner": str(stranger_s)}),
        (urlsplit(links[1]).path, query),
        (urlsplit(links[2]).path, query),
    ]
    for address, changed in forged:
        answer = client.get(address, params=changed)
        assert (answer.status_code, answer.json()["code"]) == (401, "link_invalid"), changed
    for missing in query:
        fewer = {name: value for name, value in query.items() if name != missing}
        assert client.get(path, params=fewer).status_code == 401

    auth = service.settings.auth
    expired = link.sign(auth.model_copy(update={"link_minutes": -1}), path, way_in)
    assert client.get(expired).status_code == 401
    nobody_s = link.sign(auth, path, stranger_s)
    assert client.get(nobody_s).status_code == 401
    elsewhere = auth.model_copy(update={"secret": type(auth.secret)("x" * 40)})
    assert client.get(link.sign(elsewhere, path, way_in)).status_code == 401


@on_both
def test_a_ticket_is_good_once_and_for_its_task(
    service: InProcess, demo: Person, stranger: Person, done: dict[str, Any]
) -> None:
    def ticket(task_id: str) -> str:
        answer = demo.post("/tickets", {"task_id": task_id})
        assert (answer.status_code, answer.json()["expires_in"]) == (201, 60)
        return str(answer.json()["ticket"])

    def look(task_id: str, shown: str) -> int:
        return service.client.get(f"/api/v1/tasks/{task_id}/events", params={"ticket": shown}).status_code

    task_id = str(done["task_id"])
    shown = ticket(task_id)
    assert [look(task_id, shown) for _ in range(2)] == [200, 401]
    assert look(task_id, "wrong") == 401
    other = demo.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"]
    demo.post(f"/tasks/{other}/cancel")  # its events end, should they be shown
    assert look(other, ticket(task_id)) == 401
    late = ticket(task_id)
    with service.wiring.database.write() as session:
        session.execute(update(Ticket).values(expires_at=database_now(-1)))
    assert look(task_id, late) == 401
    assert stranger.post("/tickets", {"task_id": task_id}).status_code == 404


@on_both
def test_events_come_live_in_order_and_end(service: InProcess, demo: Person, warmup: Path) -> None:
    task_id = demo.submit(demo.upload(warmup))
    heard: list[Heard] = []
    listener = threading.Thread(target=lambda: heard.extend(told(demo, task_id)))
    listener.start()
    while not (service.events(task_id) and listener.is_alive()):
        time.sleep(0.01)
    assert service.work()
    listener.join(30)
    assert not listener.is_alive()
    states = [(number, data["status"]) for kind, number, data in heard if kind == "state"]
    assert states == [(1, "queued"), (2, "processing"), (3, "completed")]
    assert all(number is None for kind, number, _ in heard if kind == "progress")
    assert heard[-1][2]["stems"] == ["vocals", "accompaniment"]

    for after in range(4):
        again = [number for kind, number, _ in told(demo, task_id, after) if kind == "state"]
        assert again == list(range(after + 1, 4))


def test_two_listeners_hear_the_same(service: InProcess, demo: Person, warmup: Path) -> None:
    tasks = [demo.submit(demo.upload(warmup)) for _ in range(2)]
    heard: dict[int, list[int | None]] = {}

    def listen(ear: int, task_id: str, after: int) -> None:
        heard[ear] = [number for kind, number, _ in told(demo, task_id, after) if kind == "state"]

    ears = [(0, tasks[0], 0), (1, tasks[0], 2), (2, tasks[1], 0)]
    threads = [threading.Thread(target=listen, args=ear) for ear in ears]
    for thread in threads:
        thread.start()
    assert service.work() and service.work()
    for thread in threads:
        thread.join(30)
    assert heard == {0: [1, 2, 3], 1: [3], 2: [1, 2, 3]}


@on_both
def test_history_pages(make_service: MakeService) -> None:
    service = make_service(credit={"signup_grant": 10_000})
    person = service.login()
    tasks = [person.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"] for _ in range(5)]
    for task_id in tasks[:2]:
        person.post(f"/tasks/{task_id}/cancel")
    everything = person.get("/history")
    assert [row["task_id"] for row in everything.json()] == tasks[::-1]
    assert everything.headers["x-total-count"] == "5"
    assert "link" not in everything.headers

    seen: list[str] = []
    url: str | None = "/api/v1/history?limit=2"
    pages = 0
    while url:
        answer = service.client.get(url, headers=person.headers)
        assert answer.headers["x-total-count"] == "5"
        assert len(answer.json()) <= 2
        seen += [row["task_id"] for row in answer.json()]
        url = answer.links.get("next", {}).get("url")
        pages += 1
    assert seen == tasks[::-1]
    assert pages == 3

    cancelled = person.get("/history?status=cancelled")
    assert [row["task_id"] for row in cancelled.json()] == tasks[1::-1]
    assert cancelled.headers["x-total-count"] == "2"
    assert person.get("/history?status=completed").json() == []
    assert person.get("/history?status=done").status_code == 422
    assert person.get("/history?limit=1001").status_code == 422
