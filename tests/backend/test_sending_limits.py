"""Songs that clients send to the storage themselves: how much of it, how many at once, and whose it is no more."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backend.audit.service import COMMAND
from backend.erase import service as erase
from backend.storage import keys
from backend.upload import admission, pledges, sending
from backend.upload import service as uploads
from tests.backend.test_sending import MIB, asked, done, kept, place, put, wish
from tests.client.faulty_way import faulty_way, relay
from tests.colleagues import colleague
from tests.processes import wait_until
from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person


@pytest.fixture
def service(make_service: MakeService, s3_settings: dict[str, Any]) -> InProcess:
    return make_service(storage=s3_settings | {"part_bytes": 5 * MIB})


def pledged(service: InProcess) -> int:
    return len(list(service.wiring.storage.listed("pledged")))


def test_links_that_are_out_count(
    make_service: MakeService, s3_settings: dict[str, Any], warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = warmup.read_bytes()
    service = make_service(storage=s3_settings, tenant={"storage_bytes": 3 * len(content) + 1000})
    demo, stranger = service.login(), service.register("stranger@example.com")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: demo.post("/upload-links", wish(content)), range(6)))
    links = [answer.json() for answer in answers if answer.status_code == 201]
    links += [asked(demo, content) for _ in range(3 - len(links))]
    refused = demo.post("/upload-links", wish(content))
    assert (refused.status_code, refused.json()["code"]) == (413, "storage_used_up")
    assert pledged(service) == 3 and asked(stranger, content)
    # What was looked at counts as what is kept, and what was wrong not at all.
    for link in links[:2]:
        assert put(link, content) == [200] and done(demo, link).status_code == 201
    place(service, links[2], b"x")
    assert done(demo, links[2]).json()["code"] == "upload_differs"
    assert pledged(service) == 1
    # A link may be used again until it expires: then it counts by what lies there.
    for _ in range(2):
        place(service, links[0], content)
        place(service, links[1], content)
    assert demo.post("/upload-links", wish(content)).json()["code"] == "storage_used_up"
    monkeypatch.setattr(pledges, "MOST", 1)
    refused = stranger.post("/upload-links", wish(content))
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (
        429,
        "links_outstanding",
        "60",
    )


def test_a_storage_that_hangs_holds_up_nobody_else(
    make_service: MakeService,
    s3_settings: dict[str, Any],
    s3_server: S3Server,
    warmup: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More words that a song was sent than there are threads for requests."""
    monkeypatch.setattr(admission, "ASKING_SECONDS", 1.0)
    content, let_go = warmup.read_bytes(), threading.Event()
    with faulty_way(s3_server.url, keeps_host=True) as way:
        service = make_service(storage=s3_settings | {"endpoint": way.url, "timeout_seconds": 60})
        demo, stranger = service.login(), service.register("stranger@example.com")
        links = [asked(demo, content + bytes(n)) for n in range(3)]
        for n, link in enumerate(links):
            assert put(link, content + bytes(n)) == [200]

        def hold(handler: Any) -> None:
            let_go.wait(60)
            relay(handler)

        way.on("^HEAD .*/sending/", *[hold] * 100)
        with ThreadPoolExecutor(45) as crowd:
            said = [crowd.submit(done, demo, links[0]) for _ in range(40)]
            said += [crowd.submit(done, demo, link) for link in links]
            try:
                wait_until(lambda: way.count("^HEAD .*/sending/") == 2)
                assert stranger.get("/me", timeout=20).status_code == 200
                wait_until(lambda: sum(each.done() for each in said) >= 41)
                assert way.count("^HEAD .*/sending/") == 2, "of one song one at a time, of one tenant two"
                refused = next(each.result() for each in said if each.done())
                assert (refused.status_code, refused.json()["code"]) == (503, "uploads_busy")
                assert int(refused.headers["retry-after"]) >= 1
            finally:
                let_go.set()
            assert sorted({each.result().status_code for each in said}) == [201, 503]
        assert [done(demo, link).status_code for link in links] == [201] * 3 and kept(service) == (3, 0)


def test_few_are_probed_at_once(service: InProcess, warmup: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Songs that were sent past the API wait for the same turn as all others."""
    people = [service.register(f"crowd-{number}@example.com") for number in range(6)]
    content, lock = warmup.read_bytes(), threading.Lock()
    now, most, probe = 0, 0, uploads.probed

    def watched(*args: Any) -> Any:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            time.sleep(0.3)
            return probe(*args)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(uploads, "probed", watched)
    service._app.state.admission._turn = asyncio.Semaphore(1)
    links = [asked(person, content) for person in people]
    assert [put(link, content) for link in links] == [[200]] * 6
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(done, people, links))
    assert [answer.status_code for answer in answers] == [201] * 6 and most == 1


def test_who_is_erased_leaves_nothing_on_its_way(
    service: InProcess, demo: Person, warmup: Path, s3_settings: dict[str, Any], s3_server: S3Server
) -> None:
    storage, content = service.wiring.storage, warmup.read_bytes()
    mate = colleague(service, demo, "mate@example.com")
    links = {person: asked(person, content) for person in (demo, mate)}
    large = asked(mate, content, size=11 * MIB)
    for link in links.values():
        assert put(link, content) == [200]
    assert put(large | {"parts": large["parts"][:1]}, bytes(11 * MIB)) == [200]
    user_id = service.scope(mate).user_id
    assert user_id is not None
    erased = erase.erase_person(service.wiring, COMMAND, user_id)
    assert erased.content["files_removed"]
    assert (kept(service), pledged(service)) == ((0, 1), 1), "the other's stay"
    client, bucket = s3_server.client(), s3_settings["url"].split("/")[2]
    assert client.list_multipart_uploads(Bucket=bucket).get("Uploads", []) == []

    assert put(links[mate], content) == [200], "a link knows nothing of it"
    sending.remove_of_gone(service.wiring)
    assert (kept(service), pledged(service)) == ((0, 1), 1)
    assert done(demo, links[demo]).status_code == 201
    again = asked(demo, content)
    assert put(again, content) == [200]
    assert erase.erase_tenant(service.wiring, COMMAND, service.scope(demo).tenant_id).content["files_removed"]
    assert [stored.key for room in keys.ROOMS - {"inventory"} for stored in storage.listed(room)] == []
