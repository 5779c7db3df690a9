"""Whatever comes in gets a right answer or a problem body, and never a 500: parsers of bodies, headers and tokens.

A bounded number of examples, the same each time; `scripts/fuzz` asks for more, and for new ones.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from backend.auth import keyring, refresh, token
from backend.auth.link import LinkRefused, check
from backend.auth.token import TokenRefused
from backend.key import service as keys
from backend.settings import Auth
from backend.settings.webhook import Webhook
from backend.webhook.address import WebhookUrlRefused, check_url, literal, networks, permitted
from tests.service import InProcess, Person

MORE = int(os.environ.get("VR_FUZZ_EXAMPLES", "0"))
AUTH = Auth()


def fuzz(examples: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples * max(1, MORE),
        derandomize=not MORE,
        database=None,
        deadline=None,
        # The service of a test is the same for all its examples, and none needs another's leavings gone.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


pytestmark = pytest.mark.timeout(120 + 60 * MORE)

# What HTTP lets into a header's value at all.
header_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=60)


def assert_answered(answer: httpx.Response, *right: int) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code not in right:
        assert answer.headers["content-type"] == "application/problem+json", answer.text
        assert answer.json()["code"] and answer.json()["request_id"]


part_headers = st.sampled_from(
    [
        b'Content-Disposition: form-data; name="file"; filename="a.mp3"',
        b'Content-Disposition: form-data; name="file"',
        b'Content-Disposition: form-data; name="other"; filename="a.mp3"',
        b"Content-Disposition: form-data; name=file; filename*=utf-8''%00%2f..%2f",
        b"content-disposition:form-data;name=\"file\";filename=\"\"",
        b"Content-Disposition: attachment",
        b"Content-Type: audio/mpeg",
        b"Content-Transfer-Encoding: base64",
    ]
)  # fmt: skip
form_piece = st.one_of(
    st.sampled_from([b"--x\r\n", b"--x--\r\n", b"--x", b"\r\n", b"\r\n\r\n", b"\n", b"--", b"--xx\r\n", b"\0"]),
    part_headers,
    part_headers.map(lambda line: b"--x\r\n" + line + b"\r\n\r\n"),
    st.binary(max_size=40),
)


@fuzz(60)
@given(
    pieces=st.lists(form_piece, max_size=8), boundary=st.sampled_from(["x", '"x"', "", "x; charset=x", "x" * 200, "xx"])
)
def test_forms(service: InProcess, demo: Person, pieces: list[bytes], boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = service.client.post("/api/v1/uploads", content=b"".join(pieces), headers=demo.headers | headers)
    assert_answered(answer, 201)
    assert service.files("incoming") == []


@fuzz(30)
@given(
    content=st.binary(max_size=200), kind=st.one_of(header_text, st.sampled_from(["application/json", "text/plain"]))
)
@example(content=b"", kind="multipart/form-data; a=\x85b")
def test_bodies_of_any_kind(service: InProcess, demo: Person, content: bytes, kind: str) -> None:
    headers = {"Content-Type": kind.encode("latin-1").strip()}
    for path in ("/uploads", "/login", "/token", "/separate"):
        shown = {b"Authorization": demo.headers["Authorization"].encode()} if path != "/login" else {}
        said = {name.encode(): value for name, value in headers.items()} | shown
        assert_answered(service.client.post(f"/api/v1{path}", content=content, headers=said))


number = st.integers(-5, 2**70).map(str)
a_range = st.one_of(
    st.builds("{}-{}".format, number, number), number.map("{}-".format), number.map("-{}".format), header_text
)


@fuzz(100)
@given(unit=st.sampled_from(["bytes", "Bytes", " bytes", "items", ""]), ranges=st.lists(a_range, max_size=5))
def test_ranges(results: tuple[Person, str, bytes], unit: str, ranges: list[str]) -> None:
    person, address, whole = results
    said = f"{unit}={','.join(ranges)}".strip().encode("latin-1")
    answer = person.client.get(address, headers={b"Range": said})
    assert_answered(answer, 200, 206)
    assert answer.status_code in (200, 206, 416)
    if answer.status_code == 200:
        assert answer.content == whole
    elif answer.status_code == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    elif found := re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", answer.headers.get("content-range", "")):
        first, last, size = map(int, found.groups())
        assert (answer.content, size) == (whole[first : last + 1], len(whole))


def test_what_is_no_range_is_as_if_unsaid(results: tuple[Person, str, bytes]) -> None:
    person, address, whole = results
    for said in ("bytes=5-2", "bytes=", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,x", "0-1"):
        answer = person.client.get(address, headers={"Range": said})
        assert (answer.status_code, answer.content) == (200, whole)


query_value = st.one_of(st.text(max_size=40), number, st.uuids().map(str), st.sampled_from(["", "null", "1e3", "٣"]))


@fuzz(80)
@given(
    path=st.sampled_from(["/history", "/uploads", "/credits/entries", "/webhooks/{}/deliveries"]),
    values=st.dictionaries(st.sampled_from(["limit", "cursor", "status"]), query_value, max_size=3),
)
def test_cursors_and_limits(demo: Person, path: str, values: dict[str, str]) -> None:
    answer = demo.get(path.format(uuid4()), params=_sendable(values))
    assert_answered(answer, 200)
    if answer.status_code == 200:
        assert [row.get("kind") for row in answer.json()] in ([], ["grant"])


@fuzz(60)
@given(first=st.text(min_size=1, max_size=30), second=st.text(min_size=1, max_size=30), query=st.text(max_size=30))
def test_parts_of_addresses(demo: Person, first: str, second: str, query: str) -> None:
    for path in (
        "/tasks/{}",
        "/tasks/{}/stems/{}",
        "/tasks/{}/archive",
        "/tasks/{}/events",
        "/webhooks/{}/deliveries/{}",
    ):
        address = path.format(*(quote(part.encode("utf-8", "replace"), safe="") for part in (first, second)))
        values = _sendable({"ticket": query, "signature": query, "owner": query, "expires": "1"})
        answer = demo.get(address, params=values)
        assert_answered(answer)
        assert answer.status_code in (401, 404, 405, 422)  # `.` and `..` lead to another route


segment = st.one_of(
    st.text(max_size=30),
    st.sampled_from(["e30", "bnVsbA", "W10", "eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOltdfQ", "eyJraWQiOnt9fQ", "IjEi", "MQ"]),
)
any_token = st.one_of(
    st.lists(segment, max_size=5).map(".".join),
    st.builds("vrk_{}".format, st.text(max_size=60)),
    st.builds("vrr_{}".format, st.lists(segment, max_size=4).map(".".join)),
    st.binary(max_size=60).map(lambda some: some.decode("latin-1")),
)


@fuzz(300)
@given(shown=any_token)
def test_tokens(shown: str) -> None:
    with pytest.raises(TokenRefused):
        token.read(AUTH, shown)
    assert refresh.read(AUTH, shown) is None


@fuzz(200)
@given(session=st.text(max_size=40), generation=st.text(max_size=30))
def test_refresh_tokens_of_ours_hold_what_we_put_in(session: str, generation: str) -> None:
    """The signature covers the text, so only what `issue` writes is ever read."""
    signature = keyring.sign(AUTH, "refresh", session, generation)
    body = f"{refresh.PREFIX}{session}.{generation}"
    for shown in (f"{body}.{signature}x", f"{body}.{signature[:-1]}", f"{body}0.{signature}"):
        assert refresh.read(AUTH, shown) is None
    login = uuid4()
    assert refresh.read(AUTH, refresh.issue(AUTH, login, 7)) == (login, 7)


@fuzz(200)
@given(path=st.text(max_size=40), owner=st.text(max_size=40), expires=st.integers(), signature=st.text(max_size=70))
def test_links(path: str, owner: str, expires: int, signature: str) -> None:
    with pytest.raises(LinkRefused):
        check(AUTH, path, owner, expires, signature)


@fuzz(60)
@given(shown=any_token)
def test_what_a_stranger_shows(service: InProcess, shown: str) -> None:
    assert keys.holder(service.wiring.database, shown.replace("\0", "")) is None
    bearer = re.sub(r"[\0-\x1f\x7f]", "", shown).encode("utf-8", "replace")  # the rest is no HTTP: uvicorn refuses it
    for scheme in (b"Bearer ", b"Key ", b""):
        answer = service.client.get("/api/v1/me", headers={b"Authorization": (scheme + bearer).strip()})
        assert_answered(answer)
        assert answer.status_code == 401
    for path, field in (("/refresh", "refresh_token"), ("/email/verify", "token")):
        answer = service.client.post(f"/api/v1{path}", json={field: shown.encode("utf-8", "replace").decode()})
        assert_answered(answer)
        assert answer.status_code in (400, 401, 422)


host = st.one_of(
    st.ip_addresses().map(str),
    st.integers(0, 2**32 - 1).map(str),
    st.integers(0, 2**32 - 1).map(hex),
    st.sampled_from(
        ["localhost", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "①②⑦.0.0.1", "example.com.", "a..b", "xn--"]
    ),
    st.text(max_size=20),
)
url = st.one_of(
    st.text(max_size=80),
    st.builds(
        "{}://{}{}{}".format, st.sampled_from(["https", "http", "HTTPS", "file"]), host, st.text(max_size=6), st.text()
    ),
)


@fuzz(300)
@given(text=url)
@example(text="https://xn--")
@example(text="https://xn--0.example.com")
def test_webhook_addresses(text: str) -> None:
    """Refused, or an https URL of no private address, whatever it looks like."""
    rules = Webhook()
    try:
        found = check_url(rules, text)
    except WebhookUrlRefused:
        return
    assert found.scheme == "https" and not found.userinfo
    address = literal(found.host)
    assert address is None or permitted(address, networks(rules))


@fuzz(40)
@given(text=url)
def test_webhook_addresses_over_http(demo: Person, text: str) -> None:
    sendable = text.encode("utf-8", "replace").decode()
    answer = demo.post("/webhooks", {"url": sendable})
    assert_answered(answer, 201)
    assert answer.status_code in (201, 409, 422)


def _sendable(values: dict[str, str]) -> dict[str, str]:
    """Lone surrogates have no bytes."""
    return {name: value.encode("utf-8", "replace").decode() for name, value in values.items()}


@pytest.fixture
def results(service: InProcess, demo: Person, warmup: Path) -> tuple[Person, str, bytes]:
    """A signed link to a stem, and the stem."""
    task_id = demo.submit(demo.upload(warmup), format="mp3")
    assert service.work()
    link = demo.task(task_id)["stems"][0]["url"]
    return demo, link, service.client.get(link).content
