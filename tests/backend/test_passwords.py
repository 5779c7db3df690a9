"""Passwords changed and forgotten, addresses proven, invitations: with letters that go through a mail server."""

from __future__ import annotations

import ssl
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import select, update
from typer.testing import CliRunner

from backend.auth import proof
from backend.auth.password import hash_password
from backend.clock import database_now
from backend.credit import service as credit
from backend.mail import Letter, Mailer
from backend.models import Invitation, User
from backend.user import service as users
from cli.main import app as command
from tests.mail_server import MailServer, certificate, token_in
from tests.servers import free_port, on_both
from tests.service import PASSWORD, InProcess, MakeService, Person

SINGER = "singer@example.com"
CHANGED = "quite another phrase"
Post = Callable[..., httpx.Response]


@pytest.fixture
def service(make_service: MakeService, mail_server: MailServer) -> InProcess:
    return make_service(mail=mail_server.settings | {"link_base": "https://songs.example.com/"})


@pytest.fixture
def singer(service: InProcess) -> Person:
    with service.wiring.database.write() as session:
        users.create(session, SINGER, hash_password(PASSWORD), granted=0)
    return service.login(SINGER)


def post(service: InProcess, path: str, body: Any) -> httpx.Response:
    return service.client.post(f"/api/v1{path}", json=body)


def login(service: InProcess, password: str) -> int:
    return post(service, "/login", {"email": SINGER, "password": password}).status_code


def account(service: InProcess) -> User:
    with service.wiring.database.read() as session:
        return session.scalars(select(User).where(User.email == SINGER)).one()


def test_a_forgotten_password(service: InProcess, singer: Person, mail_server: MailServer) -> None:
    prove(service)
    for email in ("nobody@example.com", "SINGER@example.com", SINGER):
        answer = post(service, "/password/forgotten", {"email": email})
        assert (answer.status_code, answer.text) == (202, "null")
    first, second = mail_server.letters(2, to=SINGER)
    assert first["From"] == "us@example.com"
    assert "https://songs.example.com/password/reset#token=" in first.get_content()
    assert {letter["To"] for letter in mail_server.got} == {SINGER}

    key = make_key(singer)
    body = {"token": token_in(first), "new_password": CHANGED}
    assert post(service, "/password/reset", body | {"new_password": "short"}).status_code == 422
    assert post(service, "/password/reset", body).status_code == 204
    for letter in (first, second):  # used, and its sister
        again = post(service, "/password/reset", body | {"token": token_in(letter)})
        assert (again.status_code, again.json()["code"]) == (400, "mail_token_invalid")
    assert (login(service, PASSWORD), login(service, CHANGED)) == (401, 200)
    assert singer.get("/me").status_code == 401
    assert works(service, key) == 200
    assert mail_server.letters(3, to=SINGER)[2]["Subject"] == "Your password was changed"


def test_who_registered_an_address_that_is_not_theirs_keeps_no_key(service: InProcess, singer: Person) -> None:
    def reset() -> None:
        token = proof.issue(service.settings.auth, "reset", account(service))
        assert post(service, "/password/reset", {"token": token, "new_password": CHANGED}).status_code == 204

    thief_s = make_key(singer)
    reset()
    assert (login(service, CHANGED), account(service).email_verified_at is not None) == (200, True)
    assert works(service, thief_s) == 401
    own = make_key(service.login(SINGER))
    reset()
    assert works(service, own) == 200, "those of a proven address stay, unless that is wanted"


def prove(service: InProcess) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == SINGER).values(email_verified_at=database_now()))


def make_key(person: Person) -> str:
    return str(person.post("/keys", {"name": "x", "scopes": ["read"]}).json()["key"])


def works(service: InProcess, key: str) -> int:
    return service.client.get("/api/v1/me", headers={"Authorization": f"Key {key}"}).status_code


@on_both
def test_one_reset_of_many_at_once_wins(service: InProcess, singer: Person) -> None:
    token = proof.issue(service.settings.auth, "reset", account(service))
    body = {"token": token, "new_password": CHANGED}
    with ThreadPoolExecutor(6) as pool:
        statuses = Counter(pool.map(lambda _: post(service, "/password/reset", body).status_code, range(6)))
    assert statuses == {204: 1, 400: 5}


def test_letters_that_reset_nothing(service: InProcess, singer: Person) -> None:
    auth, user = service.settings.auth, account(service)
    right = proof.issue(auth, "reset", user)
    who, expires, signature = right.split(".")
    wrong = [
        proof.issue(auth.model_copy(update={"mail_minutes": -1}), "reset", user),
        proof.issue(auth.model_copy(update={"secret": type(auth.secret)("x" * 40)}), "reset", user),
        proof.issue(auth, "verify", user),
        f"{who}.{int(expires) + 60}.{signature}",
        f"{uuid4().hex}.{expires}.{signature}",
        f"{who}.{expires}.",
        f"{who}.é.{signature}",
        who,
        singer.token,
        singer.refresh_token,
        "...",
    ]
    for token in wrong:
        answer = post(service, "/password/reset", {"token": token, "new_password": CHANGED})
        assert answer.status_code in (400, 422), token
    verifying = post(service, "/email/verify", {"token": right})
    assert (verifying.status_code, verifying.json()["code"]) == (400, "mail_token_invalid")
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == SINGER).values(active=False))
    assert post(service, "/password/reset", {"token": right, "new_password": CHANGED}).status_code == 400


def test_nobody_s_mailbox_is_flooded(service: InProcess, singer: Person, mail_server: MailServer) -> None:
    for _ in range(5):
        assert post(service, "/password/forgotten", {"email": SINGER}).status_code == 202
    with service.wiring.database.write() as session:
        users.create(session, "last@example.com", "no password fits", granted=0)
    post(service, "/password/forgotten", {"email": "last@example.com"})
    mail_server.letters(1, to="last@example.com")  # letters leave in order
    assert len(mail_server.letters(2, to=SINGER)) == len(mail_server.got) - 1


def test_a_changed_password(service: InProcess, singer: Person, mail_server: MailServer) -> None:
    other = service.login(SINGER)
    body = {"current_password": "wrong", "new_password": CHANGED}
    answer = singer.post("/password", body)
    assert (answer.status_code, answer.json()["code"]) == (403, "password_wrong")
    answer = singer.post("/password", body | {"current_password": PASSWORD})
    assert answer.status_code == 200
    for person in (singer, other):
        assert person.get("/me").status_code == 401
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    assert service.client.get("/api/v1/me", headers=headers).status_code == 200
    assert post(service, "/refresh", {"refresh_token": answer.json()["refresh_token"]}).status_code == 200
    assert (login(service, PASSWORD), login(service, CHANGED)) == (401, 200)
    assert mail_server.letters(1, to=SINGER)[0]["Subject"] == "Your password was changed"


@on_both
def test_welcome_credits_wait_until_the_address_is_proven(make_service: MakeService, mail_server: MailServer) -> None:
    service = make_service(mail=mail_server.settings, auth={"verified_email": True})
    answer = post(service, "/register", {"email": SINGER, "password": PASSWORD})
    assert answer.status_code == 201
    person = Person(service.client, SINGER, answer.json()["access_token"])
    assert person.money() == (0, 0)
    assert person.get("/me").json()["email_verified"] is False
    assert person.post("/email/verification").status_code == 202
    first, second = mail_server.letters(2)
    assert "POST /api/v1/email/verify" in first.get_content()

    bodies = [{"token": token_in(letter)} for letter in (first, second)] * 4
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(pool.map(lambda body: post(service, "/email/verify", body).status_code, bodies))
    assert statuses == {204: 1, 400: 7}
    assert person.money() == (10, 0)
    assert person.get("/me").json()["email_verified"] is True
    with service.wiring.database.read() as session:
        assert credit.verify(session) == []


@on_both
def test_an_invitation_is_good_once_and_for_whom_it_is(
    make_service: MakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service(auth={"invitation_only": True})
    monkeypatch.setenv("VR_DB__URL", service.wiring.database.url.render_as_string(hide_password=False))

    def invite(*arguments: str) -> str:
        printed = CliRunner().invoke(command, ["users", "invite", *arguments])
        assert printed.exit_code == 0, printed.output
        return printed.stdout.strip()

    def register(email: str, code: str | None) -> tuple[int, str]:
        answer = post(service, "/register", {"email": email, "password": PASSWORD, "invitation": code})
        return answer.status_code, answer.json().get("code", "")

    anybody_s, singer_s, old = invite(), invite("--email", "Singer@example.com"), invite()
    for code in (None, "", "wrong", singer_s):
        assert register("other@example.com", code) == (403, "invitation_refused")
    assert register("test@example.com", "wrong") == (403, "invitation_refused"), "tells strangers nothing"
    assert register("test@example.com", anybody_s) == (409, "email_taken")
    assert register("other@example.com", anybody_s)[0] == 201, "what failed has not used it"
    assert register("another@example.com", anybody_s) == (403, "invitation_refused")
    assert register(SINGER, singer_s)[0] == 201
    with service.wiring.database.write() as session:
        session.execute(update(Invitation).where(Invitation.used_at.is_(None)).values(expires_at=database_now(-1)))
    assert register("late@example.com", old) == (403, "invitation_refused")
    with service.wiring.database.read() as session:
        by = select(User.email).join(Invitation, Invitation.used_by == User.id)
        assert sorted(session.scalars(by)) == ["other@example.com", SINGER]


def test_a_mail_server_that_is_busy_or_away(
    make_service: MakeService, mail_server: MailServer, caplog: pytest.LogCaptureFixture
) -> None:
    mail_server.busy = 1
    patient = make_service(mail=mail_server.settings | {"user": "us", "password": "secret"})
    assert post(patient, "/register", {"email": SINGER, "password": PASSWORD}).status_code == 201
    letter = mail_server.letters(1)[0]
    assert len(mail_server.passwords) == 2, "once busy, once well"
    alone = make_service(mail={"host": "127.0.0.1", "port": free_port(), "tls": "none"})
    assert post(alone, "/password/forgotten", {"email": SINGER}).status_code == 202
    alone.wiring.mail.close()
    assert "a letter could not be sent: ConnectionRefusedError" in caplog.text
    for secret in (SINGER, token_in(letter), "secret", PASSWORD):
        assert secret not in caplog.text


def test_letters_travel_protected_or_not_at_all(
    make_service: MakeService, mail_server: MailServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By default: a server without STARTTLS, or with a certificate that nobody vouches for, gets no letter."""
    settings = {name: value for name, value in mail_server.settings.items() if name != "tls"} | {"user": "us"}
    service = make_service(mail=settings)
    letter = Letter(SINGER, "x", "y")
    service.wiring.mail.send(letter)
    pem = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    wary, trusting = Mailer(service.settings), Mailer(service.settings)
    service.wiring.mail.close()  # waits for the letter
    mail_server.tls = context
    wary.send(letter)
    wary.close()
    assert (mail_server.got, mail_server.passwords) == ([], [])
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    trusting.send(letter)
    mail_server.letters(1)
    trusting.close()
    assert (mail_server.protected, len(mail_server.passwords)) == (1, 1)


def test_without_a_mail_server(make_service: MakeService, capfd: pytest.CaptureFixture[str]) -> None:
    production = make_service(
        environment="production",
        auth={"secret": "the operator's own, and long enough", "registration": True},
        limit={"login": "10 per second"},
    )
    answer = post(production, "/password/forgotten", {"email": SINGER})
    assert (answer.status_code, answer.json()["code"]) == (503, "mail_unavailable")
    assert post(production, "/register", {"email": SINGER, "password": PASSWORD}).status_code == 201
    production.wiring.mail.close()
    assert SINGER not in capfd.readouterr().err

    development = make_service()
    assert post(development, "/password/forgotten", {"email": SINGER}).status_code == 202
    development.wiring.mail.close()
    assert f"letter to {SINGER}: Set a new password" in capfd.readouterr().err
