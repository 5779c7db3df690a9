"""Sending one webhook: where it goes, where it never goes, and how little a receiver can do to us."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from backend.settings import Settings, UnsafeSettings
from backend.settings.webhook import Webhook
from backend.webhook import outbox
from backend.webhook.address import WebhookUrlRefused, check_url, networks, permitted
from backend.webhook.outbox import Outcome
from tests.receiver import Receiver, Reply, certificate, raw_receiver, receiver
from workers.post import KEPT_BYTES, Sender

LOOPBACK = Webhook(insecure=True, allowed_networks="127.0.0.0/8", timeout_seconds=20)
HASTY = LOOPBACK.model_copy(update={"timeout_seconds": 0.5})


class Names:
    """A name server that gives one answer after the other, and counts how often it is asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        if not self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return self.answers.pop(0)


def post(url: str, settings: Webhook = LOOPBACK, **more: Any) -> Outcome:
    return asyncio.run(Sender(settings, **more).post(url, {"webhook-id": "msg_1"}, '{"song":"Ü"}'))


@pytest.fixture
def server() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


INSIDE = [
    "0.0.0.0",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.9.10",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "2001::7f00:1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", INSIDE)
def test_inside_is_refused(address: str) -> None:
    assert not permitted(ip_address(address), ())
    host = f"[{address}]" if ":" in address else address
    if "%" not in address:
        with pytest.raises(WebhookUrlRefused):
            check_url(Webhook(), f"https://{host}/")
    names = Names([address])
    assert post("https://example.com/", Webhook(), resolve=names).error == "address_refused"
    assert names.asked == [("example.com", 443)]


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "192.0.1.1", "2606:4700::1111", "2a00::1"])
def test_outside_is_permitted(address: str) -> None:
    assert permitted(ip_address(address), ())


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::ffff:7f00:1]", "localhost"])
def test_other_ways_to_write_it(server: Receiver, host: str) -> None:
    outcome = post(f"http://{host}:{server.port}/", Webhook(insecure=True))
    assert (outcome.error, outcome.status) == ("address_refused", None)
    assert server.got == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https:///path",
        "https://",
        "example.com",
        "https://user:secret@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://[::1",
    ],
)
def test_urls_that_are_no_receivers(url: str) -> None:
    with pytest.raises(WebhookUrlRefused):
        check_url(Webhook(), url)


def test_an_allowed_network_is_reached(server: Receiver) -> None:
    allowed = networks(Webhook(allowed_networks="10.1.0.0/16, fd12::/32"))
    assert permitted(ip_address("10.1.2.3"), allowed)
    assert permitted(ip_address("fd12::1"), allowed)
    assert not permitted(ip_address("10.2.0.1"), allowed)
    with pytest.raises(ValueError, match=r"10\.1\.0\.1/16"):
        Webhook(allowed_networks="10.1.0.1/16")

    outcome = post(f"http://receiver.example:{server.port}/hook?a=1", resolve=Names(["127.0.0.1"]))
    assert (outcome.error, outcome.status, outcome.response) == (None, 200, "thank you")
    [got] = server.got
    assert (got.path, got.body.decode()) == ("/hook?a=1", '{"song":"Ü"}')
    assert got.headers["Host"] == f"receiver.example:{server.port}"
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"


def test_a_name_server_that_changes_its_mind(server: Receiver) -> None:
    """The checked address is the one that is connected to: a second answer is never asked for."""
    only_other = Webhook(insecure=True, allowed_networks="127.0.0.2/32")
    with receiver("127.0.0.2") as other:
        url = f"http://rebinding.example:{other.port}/"
        names = Names(["127.0.0.2"], ["127.0.0.1"], ["127.0.0.2", "127.0.0.1"])
        assert post(url, only_other, resolve=names).error is None
        assert names.asked == [("rebinding.example", other.port)]
        assert len(other.got) == 1

        url = f"http://rebinding.example:{server.port}/"
        assert post(url, only_other, resolve=names).error == "address_refused"
        assert post(url, only_other, resolve=names).error == "address_refused"  # one of two is inside
        assert post(url, only_other, resolve=names).error == "name_unknown"
        assert (len(other.got), server.got) == (1, [])


def test_tls_is_with_the_name_not_the_address(tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path, "receiver.example")
    with receiver(tls=tls) as server:
        url = f"https://receiver.example:{server.port}/"
        assert post(url, resolve=Names(["127.0.0.1"]), trusted=trusting).error is None
        [got] = server.got
        assert (got.name, got.headers["Host"]) == ("receiver.example", f"receiver.example:{server.port}")

        other = f"https://other.example:{server.port}/"
        assert post(other, resolve=Names(["127.0.0.1"]), trusted=trusting).error == "tls_failed"
        assert post(url, resolve=Names(["127.0.0.1"])).error == "tls_failed"  # an authority that nobody knows
        assert len(server.got) == 1


def test_a_second_address_is_tried(server: Receiver) -> None:
    url = f"http://two.example:{server.port}/"
    assert post(url, resolve=Names(["127.0.0.9", "127.0.0.1"])).error is None
    assert post(url, resolve=Names(["127.0.0.9"])).error == "connect_failed"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: Receiver, status: int) -> None:
    with receiver() as target:
        server.reply = lambda _: Reply(status, {"Location": target.url})
        outcome = post(server.url)
        assert (outcome.error, outcome.status) == ("redirect_refused", status)
        assert target.got == []


def test_what_an_answer_says_is_kept_in_part(server: Receiver) -> None:
    server.reply = lambda _: Reply(503, {"Retry-After": "120"}, b"a\0b\xff" + b"x" * 1_000_000)
    outcome = post(server.url)
    assert (outcome.error, outcome.status, outcome.retry_after) == ("status_not_2xx", 503, 120.0)
    assert outcome.response == "a\ufffdb\ufffd" + "x" * (KEPT_BYTES - 4)


def test_compressed_answers_are_not_unpacked(server: Receiver) -> None:
    server.reply = lambda _: Reply(200, {"Content-Encoding": "gzip"}, b"no gzip at all")
    assert post(server.url).response == "no gzip at all"
    assert server.got[0].headers["Accept-Encoding"] == "identity"


def test_a_proxy_of_the_environment_is_not_used(server: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(server.url).error is None
        assert (len(server.got), proxy.got) == (1, [])


def _drip(connection: socket.socket) -> None:
    """A header that never ends, quick enough for every time-out between two bytes."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def _endless(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"400\r\n" + b"y" * 1024 + b"\r\n")


def _silent(connection: socket.socket) -> None:
    while connection.recv(65536):
        pass


def _nonsense(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")


@pytest.mark.parametrize(
    ("talk", "settings", "error"),
    [
        (_silent, HASTY, "timeout"),
        (_drip, HASTY, "timeout"),
        (_nonsense, LOOPBACK, "broken_answer"),
        (_endless, LOOPBACK, None),
    ],
)
def test_receivers_that_misbehave(talk: Any, settings: Webhook, error: str | None) -> None:
    with raw_receiver(talk) as port:
        outcome = post(f"http://127.0.0.1:{port}/", settings)
        assert outcome.error == error
        assert outcome.response == (None if error else "y" * KEPT_BYTES)


def test_pauses_grow_over_days_and_vary() -> None:
    schedule = Webhook().retry_seconds
    for tries, seconds in enumerate(schedule, start=1):
        pauses = {outbox.pause(schedule, tries, 0) for _ in range(50)}
        assert len(pauses) > 1
        assert all(pause is not None and 0.8 * seconds <= pause <= 1.2 * seconds for pause in pauses)
    assert outbox.pause(schedule, len(schedule) + 1, 0) is None
    assert sum(schedule) > 3 * 86_400
    assert outbox.pause([5], 1, 600) == 600  # as the receiver asked
    assert outbox.pause([5], 1, 1e9) == outbox.LONGEST_PAUSE


def test_production_refuses_http() -> None:
    def production(**webhook: Any) -> Settings:
        return Settings(
            _env_file=None,
            environment="production",
            auth={"secret": "correct horse battery staple, twice"},  # type: ignore[arg-type]
            webhook=Webhook(**webhook),
        )

    production().refuse_unsafe()
    with pytest.raises(UnsafeSettings, match="VR_WEBHOOK__INSECURE"):
        production(insecure=True).refuse_unsafe()
