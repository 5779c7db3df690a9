"""Results that lie on an S3 server: by links to it, and through the API where clients can't reach it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.s3.fixtures import S3Server
from tests.service import InProcess, MakeService, Person


def separated(service: InProcess, warmup: Path) -> tuple[Person, dict[str, Any]]:
    demo = service.login()
    answer = demo.send(warmup, "Đường về.mp3")
    assert answer.status_code == 201, answer.text
    task_id = demo.submit(answer.json()["id"])
    assert service.work()
    task = demo.task(task_id)
    assert task["status"] == "completed", task
    return demo, task


def check_archive(demo: Person, task: dict[str, Any]) -> None:
    answer = demo.get(f"/tasks/{task['task_id']}/archive")
    assert int(answer.headers["content-length"]) == len(answer.content)
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None and len(archive.namelist()) == 3
        digests = {hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    assert digests > {stem["sha256"] for stem in task["stems"]}


def test_stems_come_from_the_storage(
    make_service: MakeService, s3_settings: dict[str, Any], s3_server: S3Server, warmup: Path
) -> None:
    service = make_service(storage=s3_settings)
    demo, task = separated(service, warmup)
    assert service.files() == [], "nothing stays on this machine"
    stem = task["stems"][0]
    assert stem["path"].startswith(f"{s3_settings['url']}/output/Đường_về/{task['task_id']}/1/")
    path = f"/tasks/{task['task_id']}/stems/{stem['name']}"
    answer = demo.get(path)
    assert (answer.status_code, answer.headers["cache-control"]) == (307, "no-store")
    location = answer.headers["location"]
    assert location.startswith(f"{s3_server.url}/") and demo.token not in location

    with httpx.Client(trust_env=False) as browser:
        whole = browser.get(location)
        assert hashlib.sha256(whole.content).hexdigest() == stem["sha256"]
        assert whole.headers["content-type"] == stem["media_type"]
        assert whole.headers["content-disposition"].endswith(f"%C4%90%C6%B0%E1%BB%9Dng_v%E1%BB%81-{stem['name']}.wav")
        part = browser.get(location, headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, whole.content[10:20])
        assert browser.get(location.replace("X-Amz-Expires=300", "X-Amz-Expires=3000")).status_code == 403
        # By a signed link of ours, as an <audio> has it.
        assert browser.get(service.url + stem["url"], follow_redirects=True).content == whole.content

    head = service.client.head(f"/api/v1{path}", headers=demo.headers)
    assert (head.status_code, head.headers["content-length"]) == (200, str(stem["size"]))
    assert head.headers["accept-ranges"] == "bytes"
    check_archive(demo, task)
    assert service.register("stranger@example.com").get(path).status_code == 404

    assert demo.delete(f"/tasks/{task['task_id']}").status_code == 204
    assert [stored.key.split("/")[0] for stored in service.wiring.storage.listed("output")] == []
    (upload,) = demo.get("/uploads").json()
    assert demo.delete(f"/uploads/{upload['id']}").status_code == 204
    assert list(service.wiring.storage.listed("uploads")) == []


def test_stems_come_through_the_api(make_service: MakeService, s3_settings: dict[str, Any], warmup: Path) -> None:
    service = make_service(storage=s3_settings | {"links": False})
    demo, task = separated(service, warmup)
    stem = task["stems"][0]
    path, size = f"/tasks/{task['task_id']}/stems/{stem['name']}", stem["size"]
    whole = demo.get(path)
    assert whole.status_code == 200 and hashlib.sha256(whole.content).hexdigest() == stem["sha256"]
    assert whole.headers["content-length"] == str(size)
    for asked, start, end in (("bytes=1000-1999", 1000, 2000), ("bytes=-10", size - 10, size), ("bytes=5-", 5, size)):
        part = demo.get(path, headers={"Range": asked})
        assert (part.status_code, part.headers["content-range"]) == (206, f"bytes {start}-{end - 1}/{size}")
        assert part.content == whole.content[start:end]
    several = demo.get(path, headers={"Range": "bytes=0-1,700000-700009"})
    assert several.status_code == 206 and whole.content[700_000:700_010] in several.content
    beyond = demo.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    fresh = {"Range": "bytes=0-1", "If-Range": f'"{stem["sha256"]}"'}
    assert demo.get(path, headers=fresh).status_code == 206
    assert demo.get(path, headers=fresh | {"If-Range": '"another"'}).status_code == 200
    assert service.client.head(f"/api/v1{path}", headers=demo.headers).headers["content-length"] == str(size)
    check_archive(demo, task)
    assert demo.post("/upload-links", {"filename": "a.mp3", "size": 1, "sha256": "0" * 64}).status_code == 409


def test_a_storage_that_is_away(make_service: MakeService, own_s3_server: S3Server, warmup: Path) -> None:
    """Every road that needs it says so, and when to come again; nothing is half done."""
    service = make_service(storage=own_s3_server.settings() | {"links": False, "attempts": 1, "timeout_seconds": 30})
    demo, task = separated(service, warmup)
    path = f"/tasks/{task['task_id']}"
    own_s3_server.stop()
    song = warmup.read_bytes() + b"\0"
    for answer in (demo.send(song), demo.get(f"{path}/stems/vocals"), demo.get(f"{path}/archive")):
        assert (answer.status_code, answer.json()["code"]) == (503, "storage_unavailable")
        assert answer.headers["retry-after"] == "5"
    assert len(demo.get("/uploads").json()) == 1 and service.files() == []
    assert demo.get(path).status_code == 200, "what is in the database can be read"
    own_s3_server.start()
    assert demo.send(song).status_code == 201
    assert demo.get(f"{path}/stems/vocals").status_code == 200


@pytest.mark.parametrize("url", ["s3://", "s3://Bucket", "/data", "s3://bucket/a b", "https://host/bucket"])
def test_places_that_are_none(url: str) -> None:
    from backend.settings import Settings

    with pytest.raises(ValueError, match="no place for songs"):
        Settings(_env_file=None, storage={"url": url})  # type: ignore[arg-type]
