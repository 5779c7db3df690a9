"""What a client says ends up in no header, path or link of ours as anything but text."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from backend.auth import password
from tests.service import InProcess, MakeService, Person

NAMES = [
    'a"; filename="evil.exe".mp3',
    "a\r\nSet-Cookie: x=1.mp3",
    "a%0d%0aX-Evil: 1.mp3",
    "Ünïcödé – песня 🎵.mp3",
    "….mp3",
    "-rf.mp3",
    "a;b=c,d.mp3",
    "$(touch x)`id`.mp3",
    "<script>alert(1)</script>.mp3",
    "a\u202egpj.mp3",
]


def test_names_of_songs_stay_text(service: InProcess, demo: Person, warmup: Path) -> None:
    """Headers and paths get a word made of the name. Shelved, not sent: as if the form's own checks were forgotten."""
    for name in NAMES:
        task_id = demo.submit(demo.upload(warmup, name), duration=1)
        assert service.work()
        task = demo.task(task_id)
        for link in (task["stems"][0]["url"], task["archive_url"]):
            answer = service.client.get(link)
            assert answer.status_code == 200
            assert {"set-cookie", "x-evil"}.isdisjoint(answer.headers)
            shown = answer.headers["content-disposition"]
            found = re.fullmatch(r"attachment; filename(?:=\"([\w.-]+)\"|\*=utf-8''([\w.%-]+))", shown, re.ASCII)
            assert found, shown
            plain = unquote(found[1] or found[2])
            assert re.fullmatch(r"[\w-][\w.-]*\.(wav|zip)", plain) and ".." not in plain
        for path in service.files("output"):
            assert re.fullmatch(rf"output/[\w-][\w.-]*/{task_id}/1/[\w.-]+", path), path
        assert demo.delete(f"/tasks/{task_id}").status_code == 204
    assert service.files("output") == []


@pytest.mark.parametrize(
    "name", ["../../etc/x.mp3", "a\r\nb.mp3", "a\0b.mp3", "..", "a/b.mp3", "a\\b.mp3", "\x1b[2J.mp3"]
)
def test_names_that_are_more_than_names_are_refused(demo: Person, name: str) -> None:
    answer = demo.post("/separate", {"filename": name})
    assert (answer.status_code, answer.json()["code"]) == (422, "filename_invalid")


def _raw(service: InProcess, request: bytes) -> bytes:
    address = urlsplit(service.url)
    assert address.hostname and address.port
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
        return answer


@pytest.mark.parametrize("given", [b"a\rSet-Cookie: x=1", b"a\tb", b"\xff\xfe", b"a;b", b"'\"", b"x" * 65])
def test_a_request_id_that_is_more_than_one_is_replaced(service: InProcess, given: bytes) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-ID: %b\r\n\r\n" % given
    answer = _raw(service, request)
    assert given not in answer and b"Set-Cookie" not in answer.title()


def test_the_host_that_a_request_names_is_in_no_answer(service: InProcess, demo: Person, warmup: Path) -> None:
    poison = {"Host": "evil.example.com", "X-Forwarded-Host": "evil.example.com", "X-Forwarded-Proto": "https"}
    poison |= {"Forwarded": "host=evil.example.com", "X-Original-URL": "/evil", "X-Forwarded-Prefix": "/evil"}
    upload_id = demo.upload(warmup)
    task_ids = [demo.submit(upload_id), demo.submit(upload_id)]
    assert service.work()
    for path in (
        "/history?limit=1",
        "/uploads?limit=1",
        f"/tasks/{task_ids[0]}",
        f"/status/{task_ids[0]}",
        "/me",
        "/me/",
    ):
        answer = demo.get(path, headers=poison)
        assert "evil" not in answer.text + str(answer.headers), path
    first = demo.get("/history?limit=1", headers=poison)
    assert first.headers["link"].startswith("</api/v1/history?")
    second = demo.client.get(first.links["next"]["url"], headers=demo.headers)
    assert {row["task_id"] for row in first.json() + second.json()} == set(task_ids)
    assert "evil" not in str(service.client.get("/", headers=poison).headers)


def test_a_body_may_be_neither_long_nor_deep(service: InProcess, demo: Person) -> None:
    """On every route that reads JSON."""
    document = service.client.get("/openapi.json").json()
    seen = 0
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            content = route.get("requestBody", {}).get("content", {})
            if "application/json" not in content:
                continue
            address = re.sub(r"\{\w+\}", "0", path)
            headers = demo.headers | {"Content-Type": "application/json"}
            for body, statuses in (
                (b'{"a": "' + b"x" * (2 << 20), {413}),
                (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", {403, 404, 422}),
            ):
                answer = service.client.request(method, address, content=body, headers=headers)
                assert answer.status_code in statuses, (method, path, answer.text)
                assert answer.headers["content-type"] == "application/problem+json"
            seen += 1
    assert seen >= 15


@pytest.mark.parametrize("email", ["test@example.com", "nobody@example.com"])
def test_a_login_costs_one_hash_whoever_it_is(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch, email: str
) -> None:
    """Counted, not timed: a known and an unknown address verify one hash of the same cost."""
    service = make_service()
    service.client.post("/api/v1/login", json={"email": "first@example.com", "password": "warms up"})
    verified: list[str] = []
    verify = password._context.verify

    def counted(secret: str, hashed: str) -> bool:
        verified.append(hashed.rpartition("$")[0].rpartition("$")[0])  # all but salt and checksum
        return bool(verify(secret, hashed))

    monkeypatch.setattr(password._context, "verify", counted)
    for path, body in (("login", "json"), ("token", "data")):
        form = {"email" if path == "login" else "username": email, "password": "wrong"}
        assert service.client.post(f"/api/v1/{path}", **{body: form}).status_code == 401  # type: ignore[arg-type]
    dummy = password._dummy_hash().rpartition("$")[0].rpartition("$")[0]
    assert verified == [dummy, dummy]
