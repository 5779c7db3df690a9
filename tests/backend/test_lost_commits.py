"""A commit of which nobody hears whether it was one: what the row promises is there when the row comes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from backend.inventory import service as inventory
from tests.processes import wait_until
from tests.service import MakeService


class LateCommits:
    """Between the service and PostgreSQL. When it is told to, it cuts the connection of the next COMMIT, and passes
    that on when it is let."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.cuts, self.let = threading.Event(), threading.Event()
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            threading.Thread(target=self._ask, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        with suppress(OSError):  # the other direction has ended
            self._pass_on(client, server)

    def _pass_on(self, client: socket.socket, server: socket.socket) -> None:
        while data := _received(client):
            if data.endswith(b"COMMIT\0") and self.cuts.is_set():
                self.cuts.clear()
                self.cut.set()
                client.shutdown(socket.SHUT_RDWR)
                self.let.wait(60)
                server.sendall(data)
                return  # the server answers whoever is left
            server.sendall(data)
        server.shutdown(socket.SHUT_WR)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with client, server:
            while data := _received(server):
                try:
                    client.sendall(data)
                except OSError:
                    return

    def close(self) -> None:
        self.let.set()
        self._listening.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65_536)
    except OSError:
        return b""


@pytest.fixture
def way(postgres_url: str) -> Iterator[LateCommits]:
    url = make_url(postgres_url)
    way = LateCommits(url.host or "127.0.0.1", url.port or 5432)
    yield way
    way.close()


def test_a_row_that_comes_late_has_its_file(
    make_service: MakeService, postgres_url: str, way: LateCommits, warmup: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_url(postgres_url).set(host="127.0.0.1", port=way.port).render_as_string(hide_password=False)
    service = make_service(db={"url": url})
    demo, storage = service.login(), service.wiring.storage
    adopt = storage.adopt

    def adopt_and_cut(*args: Any) -> None:
        adopt(*args)
        way.cuts.set()

    with monkeypatch.context() as patched:
        patched.setattr(storage, "adopt", adopt_and_cut)
        answer = demo.send(warmup)
    assert answer.status_code in (500, 503) and way.cut.is_set(), answer.text
    assert demo.get("/uploads").json() == []
    way.let.set()
    wait_until(lambda: demo.get("/uploads").json(), 20)
    assert [found.kind for found in inventory.check(service.wiring.database, storage, hashes=True)] == ["named"]
