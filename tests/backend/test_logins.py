"""Staying logged in and logging out: refresh tokens that are good once, logins that end at once, keys that change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from jose import jwt
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.admin import service as admin
from backend.audit.service import COMMAND
from backend.auth import refresh
from backend.auth import service as auth
from backend.auth.keyring import signing_key
from backend.auth.password import verify_password
from backend.auth.schemas import DEMO
from backend.clock import database_now
from backend.models import LoginSession, User
from backend.settings import Settings, UnsafeSettings
from backend.user import service as users
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

OLD, NEW = "o" * 40, "n" * 40


def renew(service: InProcess, token: str) -> httpx.Response:
    return service.client.post("/api/v1/refresh", json={"refresh_token": token})


def renewed(service: InProcess, token: str) -> str:
    answer = renew(service, token)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["refresh_token"])


def refused(service: InProcess, token: str) -> None:
    answer = renew(service, token)
    assert (answer.status_code, answer.json()["code"]) == (401, "refresh_refused")


def knows(service: InProcess, access: str) -> bool:
    status = service.client.get("/api/v1/me", headers={"Authorization": f"Bearer {access}"}).status_code
    assert status in (200, 401)
    return status == 200


def later(service: InProcess) -> None:
    """As if the last refresh of everybody had been a while ago."""
    with service.wiring.database.write() as session:
        session.execute(update(LoginSession).values(rotated_at=database_now(-auth.GRACE_SECONDS - 1)))


def test_a_refresh_token_gives_the_next(service: InProcess) -> None:
    body = {"email": "test@example.com", "password": "password123"}
    login = service.client.post("/api/v1/login", json=body).json()
    first = login["refresh_token"]
    answer = renew(service, first)
    assert answer.json()["expires_in"] == 3600
    assert answer.json()["refresh_token"] != first
    assert knows(service, answer.json()["access_token"])
    assert knows(service, login["access_token"])
    renewed(service, answer.json()["refresh_token"])


@on_both
def test_an_old_refresh_token_ends_its_login_and_no_other(service: InProcess, demo: Person) -> None:
    other = service.login()
    second = renewed(service, demo.refresh_token)
    answer = renew(service, second).json()
    refused(service, demo.refresh_token)  # two steps back: no grace
    refused(service, answer["refresh_token"])
    assert not knows(service, answer["access_token"])
    assert not knows(service, demo.token)
    assert knows(service, other.token)
    renewed(service, other.refresh_token)


def test_the_token_before_the_newest_is_old_after_a_moment(service: InProcess, demo: Person) -> None:
    second = renewed(service, demo.refresh_token)
    later(service)
    refused(service, demo.refresh_token)
    refused(service, second)


@on_both
def test_sent_twice_at_once_it_gives_the_same_next_token(service: InProcess, demo: Person) -> None:
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: renew(service, demo.refresh_token), range(12)))
    assert {answer.status_code for answer in answers} == {200}
    (following,) = {answer.json()["refresh_token"] for answer in answers}
    renewed(service, following)


def test_a_thief_within_the_grace_is_found_out_one_step_later(service: InProcess, demo: Person) -> None:
    owner_s = renewed(service, demo.refresh_token)
    thief_s = renewed(service, demo.refresh_token)
    assert thief_s == owner_s
    loot = renewed(service, thief_s)
    later(service)
    refused(service, owner_s)
    refused(service, loot)


def test_made_up_refresh_tokens_end_nobody_s_login(service: InProcess, demo: Person) -> None:
    session_id = UUID(jwt.get_unverified_claims(demo.token)["sid"])
    renewed(service, demo.refresh_token)
    settings = service.settings.auth
    elsewhere = settings.model_copy(update={"secret": type(settings.secret)("x" * 40)})
    right = demo.refresh_token
    for made_up in (
        refresh.issue(elsewhere, session_id, 1),
        refresh.issue(settings, uuid4(), 1),
        refresh.issue(settings, session_id, 9),
        right[:-1] + ("0" if right[-1] != "0" else "1"),
        right.replace(".1.", ".01."),
        demo.token,
        "vrr_..",
        "\ud800",
        "é",
        "x",
    ):
        answer = service.client.post(
            "/api/v1/refresh", content=b'{"refresh_token": "' + _escaped(made_up) + b'"}', headers=JSON
        )
        assert answer.status_code in (401, 422), made_up
    assert knows(service, demo.token)


JSON = {"Content-Type": "application/json"}


def _escaped(text: str) -> bytes:
    return "".join(letter if letter < "\x7f" else f"\\u{ord(letter):04x}" for letter in text).encode()


def test_logging_out_ends_this_login_at_once_in_every_process(make_service: MakeService) -> None:
    here, there = make_service(), make_service()
    one, other = here.login(), here.login()
    assert knows(there, one.token)
    assert one.post("/logout").status_code == 204
    for service in (here, there):
        assert not knows(service, one.token)
        refused(service, one.refresh_token)
        assert knows(service, other.token)
    assert one.post("/logout").status_code == 401


def test_logging_out_everywhere(service: InProcess, demo: Person, stranger: Person) -> None:
    other = service.login()
    assert demo.post("/logout/everywhere").status_code == 204
    for person in (demo, other):
        assert not knows(service, person.token)
        refused(service, person.refresh_token)
    assert knows(service, stranger.token)


def test_who_is_locked_out_refreshes_no_more(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(User).values(active=False))
    refused(service, demo.refresh_token)


def test_a_login_that_was_not_refreshed_for_long_is_over(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(LoginSession).values(expires_at=database_now(-1)))
    refused(service, demo.refresh_token)
    assert not knows(service, demo.token)


@on_both
def test_ended_logins_are_forgotten_after_a_week(service: InProcess, demo: Person) -> None:
    old = service.login()
    gone = UUID(jwt.get_unverified_claims(old.token)["sid"])
    with service.wiring.database.write() as session:
        longer = database_now(-auth.KEPT_SECONDS - 60)
        session.execute(update(LoginSession).where(LoginSession.id == gone).values(expires_at=longer))
        auth.forget_old(session, service.wiring)
        left = session.scalars(select(LoginSession.id)).all()
    assert left == [UUID(jwt.get_unverified_claims(demo.token)["sid"])]


def change(session: Session, user: User) -> None:
    assert users.change_password(session, user, "no password fits")
    auth.logout_everywhere(session, user.id, also_keys=False)


def deactivate(session: Session, user: User) -> None:
    admin.deactivate(session, COMMAND, user.id, "stolen")


@on_both
@pytest.mark.parametrize("end", [change, deactivate])
def test_a_login_under_way_does_not_outlive_the_end_of_all(
    service: InProcess, monkeypatch: pytest.MonkeyPatch, end: Callable[[Session, User], None]
) -> None:
    """The password was right; while it was looked at, and until the login's own transaction, all logins end."""
    verified, ending = threading.Event(), threading.Event()

    def verify(given: str, hashed: str | None) -> bool:
        right = verify_password(given, hashed)
        verified.set()
        assert ending.wait(20)
        return right

    monkeypatch.setattr(auth, "verify_password", verify)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(service.client.post, "/api/v1/login", json=DEMO)
        assert verified.wait(20)
        with service.wiring.database.write() as session:
            user = users.by_email(session, DEMO["email"])
            assert user is not None
            end(session, user)
            session.flush()
            ending.set()
            wait([answer], timeout=1)  # it waits for this transaction
    assert answer.result().status_code == 401
    with service.wiring.database.read() as session:
        assert not session.scalars(select(LoginSession.id).where(LoginSession.revoked_at.is_(None))).all()


def _change_of_keys(tmp_path: Path, how: str) -> list[dict[str, Any]]:
    """Settings before, during and after."""
    if how == "environment":
        return [
            {"secret": OLD, "accepted_secrets": NEW},
            {"secret": NEW, "accepted_secrets": f"{OLD}, {'z' * 40}"},
            {"secret": NEW},
        ]
    files = []
    for number, lines in enumerate(([OLD, NEW], [NEW, OLD], [NEW])):
        path = tmp_path / f"secrets-{number}"
        path.write_text("\n".join([*lines, ""]), "utf-8")
        files.append({"secrets_file": path})
    return files


@pytest.mark.parametrize("how", ["environment", "file"])
def test_keys_change_without_logging_anybody_out(make_service: MakeService, tmp_path: Path, how: str) -> None:
    before, during, after = (make_service(auth=settings) for settings in _change_of_keys(tmp_path, how))
    old = before.login()
    assert jwt.get_unverified_header(old.token)["kid"] == signing_key(before.settings.auth)[0]

    assert knows(during, old.token)
    answer = renew(during, old.refresh_token).json()
    new = jwt.get_unverified_header(answer["access_token"])["kid"]
    assert new == signing_key(after.settings.auth)[0] != signing_key(before.settings.auth)[0]
    assert knows(before, answer["access_token"]), "a host that has not changed yet knows the coming key"

    assert not knows(after, old.token)
    assert knows(after, answer["access_token"])
    renewed(after, answer["refresh_token"])


def test_every_secret_must_be_a_good_one(tmp_path: Path) -> None:
    def refusal(**values: Any) -> str:
        settings = Settings(_env_file=None, environment="production", auth=values)  # type: ignore[arg-type]
        with pytest.raises(UnsafeSettings) as refused:
            settings.refuse_unsafe()
        return str(refused.value)

    assert "VR_AUTH__ACCEPTED_SECRETS is shorter" in refusal(secret=OLD, accepted_secrets="short")
    path = tmp_path / "secrets"
    path.write_text(f"{OLD}\nshort\n", "utf-8")
    assert "line 2 of VR_AUTH__SECRETS_FILE is shorter" in refusal(secrets_file=path)
    for content in (None, "\n \n"):
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content, "utf-8")
        with pytest.raises(ValueError, match="secrets_file"):
            Settings(_env_file=None, auth={"secrets_file": path})  # type: ignore[arg-type]
