"""Songs that clients send to the storage themselves: links, what arrives by them, and what is made of it."""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.storage import s3
from backend.upload import sending
from backend.upload import service as uploads
from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person

MIB = 1 << 20


def wish(content: bytes, **other: Any) -> dict[str, Any]:
    return {"filename": "song.mp3", "size": len(content), "sha256": hashlib.sha256(content).hexdigest()} | other


def asked(person: Person, content: bytes, **other: Any) -> dict[str, Any]:
    answer = person.post("/upload-links", wish(content, **other))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def put(link: dict[str, Any], content: bytes) -> list[int]:
    with httpx.Client(timeout=60, trust_env=False) as client:
        return [
            client.put(
                part["url"], content=content[part["start"] : part["start"] + part["size"]], headers=part["headers"]
            ).status_code
            for part in link["parts"]
        ]


def done(person: Person, link: dict[str, Any]) -> httpx.Response:
    return person.post("/upload-links/complete", {"ticket": link["ticket"]})


@pytest.fixture
def service(make_service: MakeService, s3_settings: dict[str, Any]) -> InProcess:
    return make_service(storage=s3_settings | {"part_bytes": 5 * MIB})


def kept(service: InProcess) -> tuple[int, int]:
    """(songs in the storage, what was sent and not looked at)."""
    storage = service.wiring.storage
    return len(list(storage.listed("uploads"))), len(list(storage.listed("sending")))


def test_a_song_goes_past_the_api(service: InProcess, demo: Person, warmup: Path) -> None:
    content = warmup.read_bytes()
    link = asked(demo, content)
    assert len(link["parts"]) == 1 and link["method"] == "PUT" and link["expires_in"] == 3600
    assert put(link, content) == [200]
    answer = done(demo, link)
    assert answer.status_code == 201, answer.text
    usual = demo.send(warmup, "usual.mp3").json()
    told = answer.json()
    for name in ("duration", "rate", "channels", "format", "codec", "size", "sha256", "price", "warnings"):
        assert told[name] == usual[name]
    assert kept(service) == (1, 0) and service.files() == []
    again = done(demo, link)
    assert (again.status_code, again.json()) == (201, told), "said again, it is the same song"
    task_id = demo.submit(told["id"])
    assert service.work() and demo.task(task_id)["status"] == "completed"
    for song in (told, usual):
        assert demo.delete(f"/uploads/{song['id']}").status_code == 204
    assert kept(service) == (0, 0)
    assert (done(demo, link).status_code, done(demo, link).json()["code"]) == (409, "upload_not_arrived")


def test_a_large_song_goes_in_parts(service: InProcess, demo: Person, warmup: Path) -> None:
    """Nothing in it says how long it is: an mp3 is as long as its frames."""
    one = warmup.read_bytes()
    content = one * (11 * MIB // len(one) + 1)
    link = asked(demo, content)
    assert len(link["parts"]) == 3
    assert put(link | {"parts": link["parts"][1:]}, content) == [200, 200]
    missing = done(demo, link)
    assert (missing.status_code, missing.json()["code"]) == (409, "upload_not_arrived")
    assert put(link | {"parts": link["parts"][:1]}, content) == [200]
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: done(demo, link), range(3)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert kept(service) == (1, 0) and len(demo.get("/uploads").json()) == 1


def test_nothing_that_a_client_says_is_believed(service: InProcess, demo: Person, warmup: Path) -> None:
    content = warmup.read_bytes()
    # The server of the storage holds a link to its size and hash.
    (part,) = asked(demo, content)["parts"]
    for other, status in ((content + b"\0", 403), (content[:-1] + bytes([content[-1] ^ 1]), 400)):
        assert httpx.put(part["url"], content=other, headers=part["headers"], trust_env=False).status_code == status
    # And what got there by whatever means is looked at.
    for placed, code in ((b"x" * len(content), "upload_differs"), (content[:-1], "upload_differs")):
        link = asked(demo, content)
        place(service, link, placed)
        refused = done(demo, link)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert kept(service) == (0, 0)
        assert done(demo, link).json()["code"] == "upload_not_arrived"
    noise = b"this is no song" * 100
    link = asked(demo, noise)
    assert put(link, noise) == [200]
    assert (done(demo, link).status_code, kept(service)) == (415, (0, 0))
    assert demo.get("/uploads").json() == []


def place(service: InProcess, link: dict[str, Any], content: bytes) -> None:
    """Where the link leads, without it."""
    key = link["parts"][0]["url"].partition("/songs/")[2].partition("?")[0]
    with service.wiring.storage.incoming() as folder:
        (folder / "file").write_bytes(content)
        service.wiring.storage.adopt(folder / "file", key)


def test_a_link_used_again_changes_nothing(
    service: InProcess, demo: Person, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the song was looked at, before it is kept: what was looked at is kept, or nothing."""
    content, other = warmup.read_bytes(), b"x" * warmup.stat().st_size
    link = asked(demo, content)
    assert put(link, content) == [200]
    probe = uploads.probed

    def slow(*args: Any) -> Any:
        place(service, link, other)
        return probe(*args)

    with monkeypatch.context() as patched:
        patched.setattr(uploads, "probed", slow)
        assert done(demo, link).json()["code"] == "upload_not_arrived"
    assert kept(service) == (0, 1) and demo.get("/uploads").json() == []
    assert put(link, content) == [200]
    told = done(demo, link).json()
    assert put(link, content) == [200], "the link is still good"
    place(service, link, other)
    assert done(demo, link).json() == told
    (stored,) = service.wiring.storage.listed("uploads")
    assert b"".join(service.wiring.storage.read(stored.key)) == content


def test_limits_hold_before_and_after(make_service: MakeService, s3_settings: dict[str, Any], warmup: Path) -> None:
    content = warmup.read_bytes()
    service = make_service(
        storage=s3_settings, tenant={"storage_bytes": len(content) + 1000}, upload={"max_bytes": len(content) + 9}
    )
    demo = service.login()
    for size, code in ((len(content) + 10, "upload_too_large"), (0, "invalid_request")):
        assert demo.post("/upload-links", wish(content, size=size)).json()["code"] == code
    assert demo.post("/upload-links", wish(content, filename="a/b.mp3")).json()["code"] == "filename_invalid"
    link = asked(demo, content)
    assert put(link, content) == [200]
    assert demo.send(content + b"\0").status_code == 201
    refused = done(demo, link)
    assert (refused.status_code, refused.json()["code"], kept(service)) == (413, "storage_used_up", (1, 0))
    refused = demo.post("/upload-links", wish(content))
    assert (refused.status_code, refused.json()["code"]) == (413, "storage_used_up")


def test_tickets_are_one_person_s_and_expire(
    make_service: MakeService,
    s3_settings: dict[str, Any],
    s3_server: S3Server,
    warmup: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = warmup.read_bytes()
    service = make_service(storage=s3_settings)
    demo, stranger = service.login(), service.register("stranger@example.com")
    link = asked(demo, content)
    assert put(link, content) == [200]
    said, _, signature = link["ticket"].partition(".")
    forged = [said, f"{said}.", f"{said}.{'0' * 64}", f"{said[:-4]}AAAA.{signature}", "", "é.é"]
    for person, ticket in ((stranger, link["ticket"]), *((demo, each) for each in forged)):
        refused = person.post("/upload-links/complete", {"ticket": ticket})
        assert (refused.status_code, refused.json()["code"]) == (422, "upload_ticket_invalid")
    service = make_service(storage=s3_settings | {"upload_link_seconds": 1})
    demo = service.login()
    link = asked(demo, content)
    time.sleep(2.1)
    assert put(link, content) == [403]
    monkeypatch.setattr(sending, "LATE_SECONDS", -3)
    late = asked(demo, content)
    assert done(demo, late).json()["code"] == "upload_ticket_invalid"
    monkeypatch.setattr(s3, "GRACE_SECONDS", -1)
    service.wiring.storage.remove_abandoned()
    assert kept(service) == (0, 0)


def test_a_folder_has_no_links(make_service: MakeService, warmup: Path) -> None:
    demo = make_service().login()
    for answer in (demo.post("/upload-links", wish(b"x")), demo.post("/upload-links/complete", {"ticket": "x"})):
        assert (answer.status_code, answer.json()["code"]) == (409, "uploads_go_through_api")
