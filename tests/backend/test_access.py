"""Who gets in: every kind of bad token is refused, and a stranger's things look like none at all."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from jose import jwt
from sqlalchemy import update

from backend.auth.keyring import signing_key
from backend.models import User
from backend.settings import Auth
from tests.servers import on_both
from tests.service import InProcess, MakeService, Person

KID = signing_key(Auth())[0]
PAIR = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode()
)


def _signed(claims: dict[str, Any], key: str, algorithm: str = "HS256", **header: Any) -> str:
    """As we sign, with the id of our key: what is wrong is what the test makes wrong, and nothing else."""
    return jwt.encode(claims, key, algorithm, headers={"kid": KID} | header)


def _unsigned(claims: dict[str, Any]) -> str:
    parts = ({"alg": "none", "typ": "JWT", "kid": KID}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts) + "."


def _without(claim: str, claims: dict[str, Any], key: str) -> str:
    return _signed({name: value for name, value in claims.items() if name != claim}, key)


FORGERIES: dict[str, Callable[[dict[str, Any], str], str]] = {
    "expired": lambda c, k: _signed(c | {"exp": time.time() - 60}, k),
    "wrong audience": lambda c, k: _signed(c | {"aud": "another"}, k),
    "wrong issuer": lambda c, k: _signed(c | {"iss": "another"}, k),
    "no algorithm": lambda c, _: _unsigned(c),
    "another algorithm": lambda c, k: _signed(c, k, algorithm="HS512"),
    "wrong key": lambda c, _: _signed(c, "x" * 40),
    "unknown user": lambda c, k: _signed(c | {"sub": str(uuid4())}, k),
    "user is no uuid": lambda c, k: _signed(c | {"sub": "1"}, k),
    "another tenant": lambda c, k: _signed(c | {"tenant": str(uuid4())}, k),
    "another login": lambda c, k: _signed(c | {"sid": str(uuid4())}, k),
    "no kid": lambda c, k: jwt.encode(c, k),
    "kid of another key": lambda c, k: _signed(c, k, kid="0" * 16),
    "kid that is a path": lambda c, _: _signed(c, "", kid="../../../../dev/null"),
    "kid that is SQL": lambda c, _: _signed(c, "x", kid="' UNION SELECT 'x"),
    "kid that is a list": lambda c, k: _signed(c, k, kid=[KID]),
    "kid that is empty": lambda c, _: _signed(c, "", kid=""),
    "brings its own key": lambda c, _: _signed(c, "x", jwk={"kty": "oct", "k": "eA"}, jku="http://127.0.0.1/jwks"),
    "signed with a pair of keys": lambda c, _: _signed(c, PAIR, "RS256"),
    "wants what we don't know": lambda c, k: _signed(c, k, crit=["b64"], b64=False),
    "issued as text": lambda c, k: _signed(c | {"iat": "yesterday"}, k),
} | {f"no {claim}": partial(_without, claim) for claim in ("exp", "iat", "sub", "aud", "iss", "tenant", "sid")}


@pytest.fixture
def claims(demo: Person) -> dict[str, Any]:
    return dict(jwt.get_unverified_claims(demo.token))


def _refused(service: InProcess, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = service.client.get("/api/v1/me", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"


def test_every_forged_token_is_refused(service: InProcess, claims: dict[str, Any]) -> None:
    key = service.settings.auth.secret.get_secret_value()
    assert service.client.get("/api/v1/me", headers={"Authorization": f"Bearer {_signed(claims, key)}"}).is_success
    for forge in FORGERIES.values():
        _refused(service, f"Bearer {forge(claims, key)}")


@pytest.mark.parametrize("authorization", [None, "Bearer", "Bearer x", "Bearer a.b.c", "Basic dGVzdDp0ZXN0", "x"])
def test_no_token_is_refused(service: InProcess, authorization: str | None) -> None:
    _refused(service, authorization)


def test_somebody_who_is_locked_out_gets_in_no_more(service: InProcess, demo: Person) -> None:
    with service.wiring.database.write() as session:
        session.execute(update(User).where(User.email == demo.email).values(active=False))
    _refused(service, f"Bearer {demo.token}")
    answer = service.client.post("/api/v1/login", json={"email": demo.email, "password": "password123"})
    assert (answer.status_code, answer.json()["code"]) == (401, "login_refused")


@on_both
@pytest.mark.parametrize(
    "body",
    [
        {"email": "test@example.com", "password": "Password123"},
        {"email": "nobody@example.com", "password": "password123"},
        {"email": "test@example.com\u0000", "password": "password123"},
    ],
)
def test_a_wrong_login_does_not_say_what_was_wrong(service: InProcess, body: dict[str, str]) -> None:
    answer = service.client.post("/api/v1/login", json=body)
    assert answer.status_code == 401, answer.text
    assert answer.json()["code"] == "login_refused"
    assert answer.json()["detail"] == "The e-mail address or the password is wrong."


def test_registration_can_be_closed(make_service: MakeService) -> None:
    service = make_service(auth={"registration": False})
    answer = service.client.post("/api/v1/register", json={"email": "a@example.com", "password": "password123"})
    assert (answer.status_code, answer.json()["code"]) == (403, "registration_closed")


@on_both
def test_a_stranger_sees_what_a_random_id_gives(
    service: InProcess, demo: Person, stranger: Person, warmup: Path
) -> None:
    upload_id = demo.upload(warmup)
    task_id = demo.submit(upload_id)
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/status/{}", task_id),
        ("GET", "/tasks/{}", task_id),
        ("POST", "/tasks/{}/cancel", task_id),
        ("POST", "/tasks/{}/retry", task_id),
        ("DELETE", "/tasks/{}", task_id),
        ("GET", "/tasks/{}/events", task_id),
        ("GET", "/tasks/{}/stems/vocals", task_id),
        ("GET", "/tasks/{}/archive", task_id),
        ("DELETE", "/uploads/{}", upload_id),
    ]
    for method, path, target in calls:
        answers = [_without_id(stranger, method, path.format(each)) for each in (target, uuid4())]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404, (method, path, answers)
    for route, field, target in (
        ("/separate", "upload_id", upload_id),
        ("/tasks", "upload_ids", upload_id),
        ("/tickets", "task_id", task_id),
    ):
        bodies = [[each] if field == "upload_ids" else each for each in (target, str(uuid4()))]
        answers = [_without_id(stranger, "POST", route, {field: body}) for body in bodies]
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
    by_name = stranger.post("/separate", {"filename": "song.mp3"})
    assert by_name.status_code == 404
    assert stranger.get("/history").json() == [] == stranger.get("/uploads").json()
    assert stranger.money() == (10, 0)
    assert demo.task(task_id)["status"] == "queued"


def _without_id(person: Person, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    answer = person.client.request(method, f"/api/v1{path}", headers=person.headers, json=body)
    problem = answer.json()
    assert problem.pop("request_id") == answer.headers["x-request-id"]
    return answer.status_code, problem
