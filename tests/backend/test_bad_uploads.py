"""Bad songs: each is refused with its code, costs nothing and leaves nothing behind."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import InProcess, MakeService, Person

PLAYLIST = b"#EXTM3U\n#EXTINF:10,a\nhttp://127.0.0.1:1/a.mp3\nfile:///etc/passwd\n"
CONCAT = b"ffconcat version 1.0\nfile /etc/hostname\n"


def assert_refused(
    service: InProcess, person: Person, answer: httpx.Response, status: int, code: str, *, files: int = 0
) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["advice"]
    assert len(service.files()) == files, service.files()
    assert person.money() == (10, 0)
    assert person.get("/history").json() == []


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 422, "audio_empty"),
        (b"These are words.\n" * 500, 415, "audio_undecodable"),
        (PLAYLIST, 415, "audio_undecodable"),
        (CONCAT, 415, "audio_undecodable"),
        (os.urandom(50_000), 415, "audio_undecodable"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", 415, "audio_undecodable"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 500, 415, "audio_undecodable"),
    ],
    ids=["empty", "text", "playlist", "concat", "noise", "only a header", "picture"],
)
def test_what_is_no_song(service: InProcess, demo: Person, content: bytes, status: int, code: str) -> None:
    assert_refused(service, demo, demo.send(content), status, code)
    assert demo.get("/uploads").json() == []


def test_too_long(make_service: MakeService, warmup: Path) -> None:
    service = make_service(upload={"max_seconds": 5})
    person = service.login()
    assert_refused(service, person, person.send(warmup), 413, "audio_too_long")


def test_too_large_by_its_own_words(make_service: MakeService, warmup: Path) -> None:
    service = make_service(upload={"max_bytes": 100_000})
    person = service.login()
    assert_refused(service, person, person.send(warmup), 413, "upload_too_large")


def test_too_large_without_a_word_of_it(make_service: MakeService) -> None:
    """A chunked body announces no length: it is refused as it comes, and never lies on the disk whole."""
    service = make_service(upload={"max_bytes": 2_000_000})
    person = service.login()
    largest = 0

    def body() -> Iterator[bytes]:
        nonlocal largest
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(200):
            yield os.urandom(100_000)
            sizes = [path.stat().st_size for path in service.settings.data_dir.glob("incoming/*/*")]
            largest = max(largest, *sizes, 0)
        yield b"\r\n--x--\r\n"

    headers = person.headers | {"Content-Type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/api/v1/uploads", content=body(), headers=headers)
    assert_refused(service, person, answer, 413, "upload_too_large")
    assert 0 < largest <= 2_000_000


def test_a_body_that_ends_too_soon(service: InProcess, demo: Person, warmup: Path) -> None:
    whole = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n' + warmup.read_bytes()
    headers = demo.headers | {"Content-Type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/api/v1/uploads", content=whole, headers=headers)
    assert_refused(service, demo, answer, 422, "upload_malformed")


def test_bodies_that_are_no_form(service: InProcess, demo: Person, warmup: Path) -> None:
    song = warmup.read_bytes()
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    bodies: list[tuple[bytes, dict[str, str]]] = [
        (song, {"Content-Type": "audio/mpeg"}),
        (song, {}),
        (b"", form),
        (song, form),
        (song, {"Content-Type": "multipart/form-data"}),
        (b'--x\r\nContent-Disposition: form-data; name="song"; filename="a.mp3"\r\n\r\nabc\r\n--x--\r\n', form),
        (b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--x--\r\n', form),
        (b'--x\r\nContent-Disposition: form-data; name="file"; filename="\xff\xfe"\r\n\r\nabc\r\n--x--\r\n', form),
        (b"--x--\r\n", form),
    ]
    for body, headers in bodies:
        answer = service.client.post("/api/v1/uploads", content=body, headers=demo.headers | headers)
        assert answer.status_code == 422 or (b"filename=" in body and answer.status_code == 415), (
            body[:90],
            answer.text,
        )
        assert service.files() == []
    two = [("file", ("a.mp3", song)), ("file", ("b.mp3", song))]
    answer = service.client.post("/api/v1/uploads", files=two, headers=demo.headers)
    assert_refused(service, demo, answer, 422, "upload_malformed")


@pytest.mark.parametrize("name", ["../x.mp3", "a/b.mp3", "a\\b.mp3", "..", ".", "x" * 256, "a\u0000b.mp3", "a\nb.mp3"])
def test_names_that_are_paths(service: InProcess, demo: Person, warmup: Path, name: str) -> None:
    ordered = demo.post("/separate", {"filename": name})
    assert_refused(service, demo, ordered, 422, "filename_invalid")
    if name.isprintable() and '"' not in name and "\\" not in name:
        sent = demo.send(warmup, name)
        assert sent.status_code == 422 or "/" not in sent.json()["filename"]
        if sent.status_code == 422:
            assert_refused(service, demo, sent, 422, "filename_invalid")


def test_only_real_files_of_the_library(make_service: MakeService, warmup: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "link.mp3").symlink_to(warmup)
    (library / "folder.mp3").mkdir()
    (library / "CREDITS.md").write_text("words")
    (library / "words.mp3").write_text("words")
    service = make_service(sample_dir=library)
    person = service.login()
    for name in ("link.mp3", "folder.mp3", "CREDITS.md", "nothing.mp3"):
        assert_refused(service, person, person.post("/separate", {"filename": name}), 404, "upload_not_found")
    assert_refused(service, person, person.post("/separate", {"filename": "words.mp3"}), 415, "audio_undecodable")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"filename": "warmup.mp3", "upload_id": "0198c5d2-7c1a-7d43-9b0e-6a1f0c9e2b11"},
        {"filename": "warmup.mp3", "speed": 2},
        {"filename": ""},
        {"filename": 7},
        {"upload_id": "seven"},
        {"filename": "warmup.mp3", "model": "no such model"},
        {"filename": "warmup.mp3", "model": "../../etc/passwd"},
        {"filename": "warmup.mp3", "high_frequencies": "loud"},
        [],
        "warmup.mp3",
        None,
    ],
    ids=str,
)
def test_orders_that_make_no_sense(service: InProcess, demo: Person, body: object) -> None:
    answer = demo.post("/separate", body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in {"invalid_request", "unknown_model", "filename_invalid"}
    assert demo.money() == (10, 0)
    assert demo.get("/history").json() == []


def test_half_a_character(service: InProcess, demo: Person) -> None:
    headers = demo.headers | {"Content-Type": "application/json"}
    body = rb'{"filename": "a\ud800.mp3"}'
    assert_refused(
        service, demo, service.client.post("/api/v1/separate", content=body, headers=headers), 422, "invalid_request"
    )


def test_a_cut_off_song_says_so(service: InProcess, demo: Person, warmup: Path) -> None:
    """An mp3 that lost its second half is a song still, of what is left."""
    answer = demo.send(warmup.read_bytes()[: warmup.stat().st_size // 2])
    assert answer.status_code == 201
    assert 4 < answer.json()["duration"] < 7
    whole = demo.send(warmup)
    assert whole.json()["warnings"] == []


def test_a_song_in_use_stays(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    task_id = demo.submit(upload_id)
    kept = demo.delete(f"/uploads/{upload_id}")
    assert (kept.status_code, kept.json()["code"]) == (409, "upload_in_use")
    assert demo.post(f"/tasks/{task_id}/cancel").status_code == 200
    assert demo.delete(f"/uploads/{upload_id}").status_code == 204
    assert service.files() == []
    assert demo.delete(f"/uploads/{upload_id}").status_code == 404
    assert demo.post("/separate", {"upload_id": upload_id}).status_code == 404


def test_what_stands_around_the_file_is_not_held_in_memory(service: InProcess, demo: Person) -> None:
    def body() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\nX-Much: '
        for _ in range(64):
            yield b"m" * (1 << 17)

    headers = demo.headers | {"Content-Type": "multipart/form-data; boundary=x"}
    answer = service.client.post("/api/v1/uploads", content=body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "upload_malformed")
    assert service.files() == []


def test_an_order_that_is_refused_leaves_no_copy_of_a_sample(make_service: MakeService) -> None:
    service = make_service(credit={"price": 11_000})
    person = service.login()
    assert person.post("/separate", {"filename": "warmup.mp3"}).status_code == 402
    assert person.post("/separate", {"filename": "warmup.mp3", "model": "none"}).status_code == 422
    assert service.files() == []
    assert person.get("/uploads").json() == []


def test_a_sample_stays_when_a_user_deletes_it(service: InProcess, demo: Person) -> None:
    task_id = demo.post("/separate", {"filename": "warmup.mp3"}).json()["task_id"]
    upload_id = demo.task(task_id)["upload_id"]
    assert demo.post(f"/tasks/{task_id}/cancel").status_code == 200
    assert demo.delete(f"/uploads/{upload_id}").status_code == 204
    assert (service.settings.sample_dir / "warmup.mp3").is_file()
    assert demo.post("/separate", {"filename": "warmup.mp3"}).status_code == 202
