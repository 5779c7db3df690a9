"""What browsers are told: with every answer, errors and streams too; and which pages of other origins may read it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from pydantic import ValidationError

from backend.settings.web import Web
from tests.service import InProcess, MakeService, Person

OURS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
}
APP = "https://app.example.com"


def test_every_answer_has_them(service: InProcess, demo: Person, warmup: Path) -> None:
    upload_id = demo.upload(warmup)
    task_id = demo.submit(upload_id)
    assert service.work()
    with service.client.stream("GET", f"/api/v1/tasks/{task_id}/events", headers=demo.headers) as events:
        assert events.headers["content-type"].startswith("text/event-stream")
    answers = [
        events,
        demo.get("/me"),
        demo.get(f"/tasks/{task_id}/archive"),
        demo.get(f"/tasks/{task_id}/stems/vocals"),
        demo.get(f"/tasks/{task_id}/stems/vocals", headers={"Range": "bytes=0-9"}),
        demo.get(f"/tasks/{uuid4()}"),
        demo.delete(f"/uploads/{upload_id}"),
        demo.post("/separate", {"filename": "warmup.mp3", "speed": 2}),
        service.client.get("/api/v1/me"),
        service.client.put("/api/v1/me"),
        service.client.get("/nowhere"),
        service.client.post("/api/v1/login", content=b"[" * (2 << 20)),
        service.client.get("/healthz"),
        service.client.get("/openapi.json"),
        service.client.get("/docs/assets/swagger-ui.css"),
        service.client.get("/docs/assets/nothing"),
    ]
    for answer in answers:
        assert {name: answer.headers.get(name) for name in OURS} == OURS, answer.request.url
        assert "strict-transport-security" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    assert {answer.status_code for answer in answers} >= {200, 204, 206, 401, 404, 405, 413, 422}


def test_what_is_somebody_s_is_not_kept_by_caches(service: InProcess, demo: Person, warmup: Path) -> None:
    assert demo.get("/me").headers["cache-control"] == "no-store"
    login = {"email": "test@example.com", "password": "password123"}
    assert service.client.post("/api/v1/login", json=login).headers["cache-control"] == "no-store"
    assert service.client.get("/api/v1/me").headers["cache-control"] == "no-store"
    assert "cache-control" not in service.client.get("/docs/assets/swagger-ui.css").headers
    task_id = demo.submit(demo.upload(warmup))
    assert service.work()
    # A player asks for the same stem again and again: this one says by itself who may keep it.
    assert demo.get(f"/tasks/{task_id}/stems/vocals").headers["cache-control"].startswith("private")


def test_a_mistake_of_ours_has_them_too(make_service: MakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    service = make_service(web={"allowed_origins": APP})
    demo = service.login()

    def broken(*_: object) -> None:
        raise RuntimeError("the disk sang")

    monkeypatch.setattr("backend.credit.service.balance", broken)
    answer = demo.get("/me", headers={"Origin": APP})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert answer.headers["access-control-allow-origin"] == APP
    assert "sang" not in answer.text
    assert "ratelimit" in answer.headers


def test_the_documents_run_their_own_scripts_only(service: InProcess) -> None:
    page = service.client.get("/docs")
    policy = page.headers["content-security-policy"]
    scripts = re.search(r"script-src ([^;]+)", policy)
    assert scripts and "unsafe" not in scripts[1]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    inside = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert len(inside) == 1
    for script in inside:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in scripts[1]
    named = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(named) == 3
    for address in named:
        assert address.startswith("/docs/assets/") and service.client.get(address).is_success


def test_the_documents_can_be_switched_off(make_service: MakeService) -> None:
    service = make_service(web={"docs": False})
    for path in ("/docs", "/openapi.json", "/docs/assets/swagger-ui.css"):
        assert service.client.get(path).status_code == 404
    assert service.login().get("/me").is_success


def test_browsers_keep_to_https_in_production(make_service: MakeService) -> None:
    secret = {"secret": "not the one of development, and long enough"}
    limit = {"login": "10 per second"}
    proxied = {"X-Forwarded-Proto": "https"}
    service = make_service(environment="production", auth=secret, limit=limit | {"trusted_proxies": "127.0.0.1"})
    assert service.client.get("/healthz", headers=proxied).headers["strict-transport-security"] == "max-age=31536000"
    assert "strict-transport-security" not in service.client.get("/healthz").headers
    unproxied = make_service(environment="production", auth=secret, limit=limit)
    assert "strict-transport-security" not in unproxied.client.get("/healthz", headers=proxied).headers


def _preflight(service: InProcess, origin: str, method: str, headers: str) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return service.client.options("/api/v1/separate", headers=asked)


def test_no_other_origin_reads_anything_by_default(service: InProcess, demo: Person) -> None:
    for origin in (APP, "null", service.url):
        assert "access-control-allow-origin" not in demo.get("/me", headers={"Origin": origin}).headers
        preflight = _preflight(service, origin, "POST", "authorization")
        assert preflight.status_code == 405
        assert "access-control-allow-origin" not in preflight.headers


def test_an_origin_that_is_named_reads_and_sends(make_service: MakeService) -> None:
    service = make_service(
        web={"allowed_origins": f"https://other.example.com, {APP}"}, limit={"address": "4 per hour"}
    )
    preflight = _preflight(service, APP, "POST", "authorization, content-type, idempotency-key")
    assert preflight.is_success
    assert preflight.headers["access-control-allow-origin"] == APP
    assert {"POST", "PATCH", "DELETE"} <= set(preflight.headers["access-control-allow-methods"].split(", "))
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in ("authorization", "content-type", "idempotency-key", "last-event-id"))
    assert preflight.headers["x-content-type-options"] == "nosniff"

    answer = service.login().get("/me", headers={"Origin": APP})
    assert answer.headers["access-control-allow-origin"] == APP
    assert "access-control-allow-credentials" not in answer.headers
    assert "origin" in answer.headers["vary"].lower()
    readable = set(answer.headers["access-control-expose-headers"].split(", "))
    assert readable >= {"X-Request-ID", "Retry-After", "RateLimit", "RateLimit-Policy", "Link", "X-Total-Count", "ETag"}
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    # A page must be able to tell that it has to wait, and how long.
    answers = [service.client.get("/api/v1/me", headers={"Origin": APP}) for _ in range(4)]
    assert answers[-1].status_code == 429
    assert answers[-1].headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example.com",
        "null",
        "http://app.example.com",
        f"{APP}:8443",
        f"{APP}.evil.com",
        "https://example.com",
    ],
)
def test_an_origin_that_is_not_named_reads_nothing(make_service: MakeService, origin: str) -> None:
    service = make_service(web={"allowed_origins": APP})
    assert "access-control-allow-origin" not in service.login().get("/me", headers={"Origin": origin}).headers
    preflight = _preflight(service, origin, "POST", "authorization")
    assert "access-control-allow-origin" not in preflight.headers


@pytest.mark.parametrize(
    "origin",
    ["app.example.com", f"{APP}/", f"{APP}/path", "https://*.example.com", "null", "https://a@b.c", "ftp://a.b"],
)
def test_what_is_no_origin_is_no_setting(origin: str) -> None:
    with pytest.raises(ValidationError, match="is no origin"):
        Web(allowed_origins=origin)
