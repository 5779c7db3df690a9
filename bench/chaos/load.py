"""People who send songs over HTTP and want their stems, whatever breaks; and a journal of what they were promised."""

from __future__ import annotations

import itertools
import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from bench.chaos.songs import Song, garbage
from vocal_remover import Client, Patience
from vocal_remover.errors import Refused, Unreachable, VocalRemoverError
from vocal_remover.records import FINISHED, Upload

Answer = TypeVar("Answer")

PATIENCE = Patience(attempts=4, first_wait=0.1, longest_wait=30)
OUTSTANDING = 3
"""Tasks that one person waits for at most before ordering more."""
PASSING = (429, 502, 503, 504, 507)
KILLED = "decoder_crashed"
"""Of an upload whose decoder this run has killed, and the one of the second try as well."""
SETTLE_SECONDS = 90.0
"""After the load has ended: how long orders without an answer are repeated."""
FORMATS = ("wav", "wav", "flac")


@dataclass
class Order:
    """What one Idempotency-Key stands for."""

    key: str
    person: str
    song: Song
    wishes: dict[str, Any]
    task_ids: set[str] = field(default_factory=set)
    """That were answered; more than one is a fault."""
    cancel: bool = False
    status: str = ""
    """Its last one, as the API told."""


class Traffic(httpx.BaseTransport):
    """Between the clients and several API hosts: takes turns, and passes one by that refuses connections."""

    def __init__(self, ports: list[int]) -> None:
        self._ports = ports
        self._inner = httpx.HTTPTransport(limits=httpx.Limits(max_connections=None))
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self.answers: Counter[str] = Counter()
        self.under_way: Counter[tuple[int, str]] = Counter()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        first = next(self._turn)
        for offset in range(len(self._ports)):
            port = self._ports[(first + offset) % len(self._ports)]
            request.url = request.url.copy_with(port=port)
            try:
                with self._counted(port, f"{request.method} {request.url.path.split('/')[3]}"):
                    response = self._inner.handle_request(request)
            except httpx.ConnectError:
                if offset + 1 == len(self._ports):
                    self._note("refused connection")
                    raise
            except httpx.TransportError:
                self._note("broken connection")
                raise
            else:
                self._note(str(response.status_code))
                return response
        raise AssertionError("there is a port")

    def close(self) -> None:
        self._inner.close()

    def _note(self, what: str) -> None:
        with self._lock:
            self.answers[what] += 1

    @contextmanager
    def _counted(self, port: int, kind: str) -> Iterator[None]:
        with self._lock:
            self.under_way[port, kind] += 1
        try:
            yield
        finally:
            with self._lock:
                self.under_way[port, kind] -= 1


class Person(threading.Thread):
    """Orders until `until` is over, then follows what was ordered to its end."""

    def __init__(
        self,
        email: str,
        password: str,
        songs: list[Song],
        traffic: Traffic,
        rng: random.Random,
        ring: Callable[[], None],
        over: threading.Event,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(name=email)
        self.email = email
        self.orders: list[Order] = []
        self.oddities: list[str] = []
        """What the service should never have said."""
        self._client = Client(
            "http://127.0.0.1:1", email=email, password=password, patience=PATIENCE, transport=traffic
        )
        self._songs, self._rng, self._ring, self._over, self._say = songs, rng, ring, over, say
        self._uploads: dict[Song, Upload] = {}

    def run(self) -> None:
        try:
            while not self._over.is_set():
                if len(self.waiting()) >= OUTSTANDING:
                    self._look()
                    self._over.wait(0.3)
                elif self._rng.random() < 0.03:
                    self._send_garbage()
                else:
                    self._order()
            give_up = time.monotonic() + SETTLE_SECONDS
            for order in self.orders:
                while not order.task_ids and time.monotonic() < give_up:
                    self._submit(order)
        except Exception as error:
            self._odd("".join(traceback.format_exception(error)[-3:]))

    def waiting(self) -> list[Order]:
        return [order for order in self.orders if order.status not in (*FINISHED, "refused")]

    def close(self) -> None:
        self._client.close()

    def _order(self) -> None:
        (song,) = self._rng.choices(self._songs, [song.weight for song in self._songs])
        again = self._rng.random() < 0.5
        wishes: dict[str, Any] = {"format": self._rng.choice(FORMATS)}
        key = f"{self.email}-{len(self.orders)}"
        chance, cancel, wait = self._rng.random(), self._rng.random() < 0.1, self._rng.uniform(0, 2)
        upload = self._uploads.get(song) if again else None
        if upload is None and (upload := self._upload(song)) is None:
            return
        order = Order(key, self.email, song, wishes, cancel=cancel)
        self.orders.append(order)
        if chance < 0.15:
            with ThreadPoolExecutor(3) as several:
                list(several.map(lambda _: self._submit(order), range(3)))
        else:
            self._submit(order)
            if chance < 0.3:
                self._submit(order)
        if order.task_ids:
            for _ in range(2):  # and the service has rung once
                self._ring()
        if cancel and order.task_ids:
            self._over.wait(wait)
            self._cancel(order)

    def _upload(self, song: Song) -> Upload | None:
        upload = self._trying(lambda: self._client.upload(song.path))
        if upload is not None:
            self._uploads[song] = upload
        return upload

    def _submit(self, order: Order) -> None:
        upload = self._uploads[order.song]
        ordered = self._trying(lambda: self._client.submit(upload, idempotency_key=order.key, **order.wishes))
        if ordered is not None:
            order.task_ids.add(ordered.id)

    def _cancel(self, order: Order) -> None:
        for task_id in order.task_ids:
            try:
                self._client.cancel(task_id)
            except VocalRemoverError as error:
                if not (isinstance(error, Refused) and error.code == "task_finished"):
                    self._judge(error)

    def _look(self) -> None:
        for order in self.waiting():
            for task_id in order.task_ids:
                task = self._trying(lambda task_id=task_id: self._client.task(task_id))  # type: ignore[misc]
                if task is not None:
                    if order.status in FINISHED and task.status != order.status:
                        self._odd(f"task {task_id} went from {order.status} to {task.status}")
                    order.status = task.status
            if not order.task_ids and not self._over.is_set():
                self._submit(order)

    def _send_garbage(self) -> None:
        path = self._songs[0].path.parent / f"{self.email}.bin"
        path.write_bytes(garbage(self._rng))
        try:
            self._client.upload(path)
            self._odd("garbage was taken for a song")
        except VocalRemoverError as error:
            if not (isinstance(error, Refused) and error.status in (415, 422)):
                self._judge(error)

    def _odd(self, what: str) -> None:
        self.oddities.append(what)
        self._say(f"odd: {what}")

    def _trying(self, call: Callable[[], Answer]) -> Answer | None:
        """None when it was not to be had this time."""
        try:
            return call()
        except VocalRemoverError as error:
            self._judge(error)
            return None

    def _judge(self, error: VocalRemoverError) -> None:
        """Anything but `not now` is odd."""
        wait = 0.5
        if isinstance(error, Refused):
            if error.status not in PASSING and error.code != KILLED:
                self._odd(f"{error.status} {error}")
            wait = error.retry_after or wait
        elif not isinstance(error, Unreachable):
            self._odd(f"{type(error).__name__}: {error}")
        with suppress(RuntimeError):
            self._over.wait(min(wait, 10)) if not self._over.is_set() else time.sleep(min(wait, 2))
