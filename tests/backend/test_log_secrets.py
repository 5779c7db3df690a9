"""No token, password, key or signature is ever in a log: not by our doing, and not by a library's."""

from __future__ import annotations

import io
import json
import logging
import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from backend.auth import letters
from backend.redaction import RedactingFormatter, redact
from backend.settings import Settings
from backend.user import service as users
from cli.logs import configure
from migrations.prepare import prepare
from tests.mail_server import MailServer, token_in
from tests.processes import Process, environment, wait_until
from tests.servers import empty_settings
from tests.service import InProcess, MakeService
from tests.traces import collecting

DEMO_PASSWORD = "password123"


@dataclass
class Walk:
    """Through everything that takes or gives a secret, collecting each."""

    client: httpx.Client
    secrets: list[str] = field(default_factory=list)

    def post(self, path: str, body: Any = None, *, token: str = "", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self.client.post(f"/api/v1{path}", json=body, headers=headers, **more)

    def keep(self, *secrets: str) -> str:
        assert all(len(secret) > 10 for secret in secrets)
        self.secrets += secrets
        return secrets[0]

    def accounts(self, mail_server: MailServer) -> str:
        """The access token of a login that is good."""
        email, first, second = "walker@example.com", self.keep("a first pass phrase"), self.keep("a second pass phrase")
        person = {"email": email, "password": first}
        assert self.post("/register", person | {"invitation": self.keep("no-such-code")}).status_code == 403
        registered = self.post("/register", person)
        assert registered.status_code == 201
        self.keep(registered.json()["access_token"])
        refresh = self.keep(registered.json()["refresh_token"])
        wrong = self.keep("a wrong pass phrase")
        assert self.post("/login", {"email": email, "password": wrong}).status_code == 401
        form = {"username": email, "password": wrong}
        assert self.client.post("/api/v1/token", data=form).status_code == 401
        verify = self.keep(token_in(mail_server.letters(1, email)[0]))
        assert self.post("/email/verify", {"token": verify}).status_code == 204
        assert self.post("/email/verify", {"token": verify}).status_code == 400
        assert self.post("/password/forgotten", {"email": email}).status_code == 202
        reset = self.keep(token_in(mail_server.letters(2, email)[1]))
        assert self.post("/password/reset", {"token": reset, "new_password": second}).status_code == 204
        assert self.post("/refresh", {"refresh_token": refresh}).status_code == 401
        login = self.post("/login", {"email": email, "password": second}).json()
        refresh = self.keep(login["refresh_token"])
        for _ in range(2):
            renewed = self.post("/refresh", {"refresh_token": refresh})
            assert renewed.status_code == 200
            self.keep(renewed.json()["refresh_token"])
        return self.keep(renewed.json()["access_token"], login["access_token"])

    def programs(self, token: str) -> None:
        key = self.keep(self.post("/keys", {"name": "k", "scopes": ["read"]}, token=token).json()["key"])
        for scheme in ("Bearer", "Key"):
            shown = {"Authorization": f"{scheme} {key}"}
            assert self.client.get("/api/v1/me", headers=shown).status_code == 200
            assert self.client.get("/api/v1/me", headers={"Authorization": f"{scheme} {key}x"}).status_code == 401
        made = self.post("/webhooks", {"url": "https://example.com/hook?token=mine-alone"}, token=token)
        self.keep(made.json()["secret"])
        again = self.post(f"/webhooks/{made.json()['id']}/secret", token=token)
        self.keep(again.json()["secret"])
        assert self.post(f"/webhooks/{made.json()['id']}/test", token=token).status_code == 202

    def links(self, token: str, task_id: str, link: str) -> None:
        signature = self.keep(parse_qs(urlsplit(link).query)["signature"][0])
        assert self.client.get(link).status_code == 200
        assert self.client.get(link.replace("vocals", "drums")).status_code == 401
        assert self.client.get(f"{link}&Range=0").status_code == 200
        for ticket in (self.post("/tickets", {"task_id": task_id}, token=token).json()["ticket"], signature):
            events = {"ticket": self.keep(ticket)}
            self.client.get(f"/api/v1/tasks/{task_id}/events", params=events)
            assert self.client.get(f"/api/v1/tasks/{task_id}/events", params=events).status_code == 401

    def nonsense(self, token: str) -> None:
        for broken in (token[:-3], f"{token}.x", token.replace(".", "", 1), f"{token[:20]}\N{SNOWMAN}".encode()):
            bearer = broken if isinstance(broken, bytes) else broken.encode()
            answer = self.client.get("/api/v1/me", headers={b"Authorization": b"Bearer " + bearer})
            assert answer.status_code == 401
        assert self.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"}).status_code == 200
        self.client.post("/api/v1/login", content=f'{{"password": "{self.secrets[0]}"'.encode())
        url = urlsplit(str(self.client.base_url))
        assert url.hostname and url.port
        with socket.create_connection((url.hostname, url.port)) as raw:
            raw.sendall(f"GET /api/v1/me HTTP/9.9\r\nAuthorization: Bearer {token}\r\nbad header\r\n\r\n".encode())
            raw.recv(1000)


def formatter(log_format: Literal["text", "json"]) -> logging.Formatter:
    """As each process of ours has it."""
    root = logging.getLogger()
    handlers, level, hooks = root.handlers[:], root.level, (sys.excepthook, threading.excepthook)
    try:
        configure(Settings(_env_file=None, log_format=log_format))
        found = root.handlers[0].formatter
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        sys.excepthook, threading.excepthook = hooks
        logging.captureWarnings(False)
        logging.getLogger("multiprocessing").handlers = []
    return found  # type: ignore[return-value]


def assert_clean(text: str, secrets: list[str]) -> None:
    assert len(secrets) > 8
    for secret in secrets:
        assert secret not in text, f"a secret is in the log: …{text[max(0, text.index(secret) - 200) :][:300]}…"


@contextmanager
def everything_logged(service: InProcess, formatter: logging.Formatter) -> Iterator[io.StringIO]:
    """Every line of every logger, but for those of the client in this very process."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter)
    handler.addFilter(lambda record: not record.name.startswith(("httpx", "httpcore", "hypothesis")))
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


def _walked(service: InProcess, mail_server: MailServer) -> list[str]:
    walk = Walk(service.client)
    token = walk.accounts(mail_server)
    walk.programs(token)
    person = service.login("walker@example.com")
    task_id = person.submit(person.upload(service.settings.sample_dir / "warmup.mp3"))
    assert service.work()
    walk.links(token, task_id, person.task(task_id)["stems"][0]["url"])
    walk.nonsense(token)
    return [*walk.secrets, service.settings.auth.secret.get_secret_value()]


def test_we_write_no_secret(make_service: MakeService, mail_server: MailServer) -> None:
    """Before anything is struck out of it."""
    service = make_service(mail=mail_server.settings)
    with everything_logged(service, logging.Formatter("%(name)s %(message)s")) as written:
        secrets = _walked(service, mail_server)
    assert_clean(written.getvalue(), secrets)
    assert "was used twice" not in written.getvalue()


def test_what_libraries_write_is_struck_out(
    make_service: MakeService, mail_server: MailServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows as the database gives them, which SQLAlchemy shows to who asks for the most."""
    for name in ("sqlalchemy.engine", "sqlalchemy.pool"):
        logger = logging.getLogger(name)
        monkeypatch.setattr(logger, "level", logging.DEBUG)
        logger.manager._clear_cache()  # type: ignore[attr-defined]
    service = make_service(mail=mail_server.settings)
    with everything_logged(service, RedactingFormatter("%(name)s %(message)s")) as written:
        secrets = _walked(service, mail_server)
    assert "SELECT" in written.getvalue() and "[redacted]" in written.getvalue()
    assert_clean(written.getvalue(), secrets)
    assert "$argon2" not in written.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_secret_in_an_exception_is_struck_out(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, log_format: Literal["text", "json"]
) -> None:
    demo = service.login()
    secrets = [demo.token, demo.refresh_token, "vrk_0123456789ab_" + "Z" * 43, "whsec_" + "A" * 32, DEMO_PASSWORD]

    def broken(*_: object) -> None:
        raise RuntimeError(
            f"Bearer {secrets[0]} {secrets[1]} {secrets[2]} {secrets[3]} password={secrets[4]} "
            f"postgresql://vocal:{secrets[4]}@db/x {{'password': '{secrets[4]}'}} {{\"password\": \"{secrets[4]}\"}}"
        )

    monkeypatch.setattr("backend.credit.service.balance", broken)
    with everything_logged(service, formatter(log_format)) as written:
        assert demo.get("/me").status_code == 500
    assert "Traceback" in written.getvalue() and "RuntimeError" in written.getvalue()
    for secret in secrets:
        assert secret not in written.getvalue()


def test_json_lines_hold_no_secret_in_what_they_say_besides(capsys: pytest.CaptureFixture[str]) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(formatter("json"))
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s", ('{"token": "abc\\"def"}\n{"level": "x"}',), None)
    record.password, record.body = "hunter2-hunter2", {"refresh_token": ["hunter3-hunter3"], "url": "x?ticket=hunter4"}
    handler.handle(record)
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert "hunter" not in line and "abc" not in line
    assert (told["level"], told["password"], told["body"]["url"]) == ("INFO", "[redacted]", "x?ticket=[redacted]")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_api_s_own_log(tmp_path: Path, mail_server: MailServer, log_format: str) -> None:
    """The process as it runs, asked for every detail, and with its traces."""
    mail = {f"VR_MAIL__{name.upper()}": str(value) for name, value in mail_server.settings.items()}
    stack = ExitStack()
    collector = stack.enter_context(collecting())
    seen = {"VR_LOG_LEVEL": "DEBUG", "VR_LOG_FORMAT": log_format, "VR_OBSERVE__ACCESS_LOG": "true"}
    env = environment(tmp_path / "data", VR_OBSERVE__TRACES_URL=collector.url, **seen, **mail)
    prepare(empty_settings(tmp_path / "data", f"sqlite:///{tmp_path / 'data' / 'vocal_remover.db'}"))
    api = Process(["api"], env, tmp_path / "api.log")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{env['VR_SERVER__PORT']}", trust_env=False) as client:
            wait_until(lambda: _answers(client))
            walk = Walk(client)
            token = walk.accounts(mail_server)
            walk.programs(token)
            walk.nonsense(token)
            client.get("/api/v1/tasks/x/events", params={"ticket": walk.keep("a-ticket-of-nobody")})
            client.get(
                "/api/v1/tasks/x/archive", params={"owner": "a.b", "expires": 1, "signature": walk.keep("0" * 64)}
            )
            wait_until(lambda: "/api/v1/tasks/{task_id}/archive" in {span.name for span in collector.spans})
    finally:
        api.kill()
        stack.close()
    assert_clean(collector.raw.decode("latin-1"), walk.secrets)
    assert "GET /api/v1/me 200 in" in api.text()
    assert "DEBUG" in api.text() or "INFO" in api.text()
    assert_clean(api.text(), walk.secrets)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.parametrize(
    "text",
    [
        "login 01a1fe60-4587-7668-9f33-b98bd64b3597 ended: a refresh token of it was used twice",
        "the password was changed; its tokens: 3, signature checked",
        "unhandled error in GET /api/v1/tasks/01a1fe60-4587-7668-9f33-b98bd64b3597",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://example.com:8443/hook",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


def test_letters_are_struck_out_whole(service: InProcess) -> None:
    """Whichever way a letter's text got into a log."""
    with service.wiring.database.read() as session:
        user = users.by_email(session, "test@example.com")
    assert user is not None
    for make in (letters.reset, letters.verification):
        text = make(service.settings, user).text
        assert re.search(r"[0-9a-f]{64}", text)
        assert "[redacted]" in redact(text) and not re.search(r"[0-9a-f]{16}", redact(text))
