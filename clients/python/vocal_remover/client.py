from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx

from vocal_remover import flows
from vocal_remover.calls import Caller
from vocal_remover.effects import Alone, Close, Do, Effect, Flow, Open, Sleep, Take
from vocal_remover.patience import Patience
from vocal_remover.records import Credits, Listener, Ordered, Result, Task, Upload, Wishes
from vocal_remover.waiting import look

T = TypeVar("T")


class Client:
    """A Vocal Remover service.

    Without arguments it reads VOCAL_REMOVER_URL and VOCAL_REMOVER_KEY (or VOCAL_REMOVER_EMAIL and
    VOCAL_REMOVER_PASSWORD) from the environment. One client may be used by several threads.
    Every method raises `VocalRemoverError`.
    """

    def __init__(
        self,
        base_url: str | None = None,
        key: str | None = None,
        *,
        email: str | None = None,
        password: str | None = None,
        patience: Patience | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._caller = Caller(base_url, key, email, password, patience or Patience())
        self._http = httpx.Client(transport=transport, limits=httpx.Limits(max_connections=None))
        self._alone = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def separate(
        self,
        song: str | Path,
        *,
        into: str | Path | None = None,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        on_progress: Listener | None = None,
        **wishes: Unpack[Wishes],
    ) -> Result:
        """Send a song, wait for its stems and fetch them into a folder, by default one beside the song.

        Raises TaskFailed, TaskCancelled, TookTooLong beside what the other methods raise.
        """
        return self._run(flows.separate(self._caller, song, into, idempotency_key, timeout, on_progress, wishes))

    def upload(self, song: str | Path, *, on_progress: Listener | None = None) -> Upload:
        """Send a song. When a connection breaks it is sent again, unless it has arrived."""
        return self._run(flows.upload(self._caller, song, on_progress))

    def submit(self, song: Upload | str, *, idempotency_key: str | None = None, **wishes: Unpack[Wishes]) -> Ordered:
        """Order the stems of a song that was sent; its credits are put aside.

        However often it is tried, it makes one task. With a key of your own also when you call it again.
        """
        return self._run(flows.submit(self._caller, song, idempotency_key, wishes))

    def task(self, task_id: str) -> Task:
        return self._run(look(self._caller, task_id))

    def wait(self, task_id: str, *, timeout: float | None = None, on_progress: Listener | None = None) -> Task:
        """The task, once it is completed; raises TaskFailed, TaskCancelled, TookTooLong."""
        return self._run(flows.wait_for(self._caller, task_id, timeout, on_progress))

    def download(
        self,
        task: Task | str,
        into: str | Path,
        *,
        stems: Sequence[str] | None = None,
        on_progress: Listener | None = None,
    ) -> dict[str, Path]:
        """Stems of a completed task as files. Goes on where an earlier call was cut off, and checks each SHA-256."""
        return self._run(flows.download(self._caller, task, into, stems, on_progress))

    def cancel(self, task_id: str) -> Task:
        """Stop a task; its credits come back. One under way ends within about a second."""
        return self._run(flows.cancel(self._caller, task_id))

    def tasks(self, status: str | None = None, *, page_size: int = 100) -> Iterator[Task]:
        """Your tasks, newest first, fetched page by page as you go."""
        cursor = None
        while True:
            rows, cursor = self._run(flows.page(self._caller, status, cursor, page_size))
            yield from rows
            if cursor is None:
                return

    def credits(self) -> Credits:
        return self._run(flows.credit(self._caller))

    def _run(self, flow: Flow[T]) -> T:
        with closing(_Runner(self._http, self._alone)) as runner:
            return runner.run(flow)


class _Runner:
    """Does what one flow asks for."""

    def __init__(self, http: httpx.Client, alone: threading.Lock) -> None:
        self._http = http
        self._alone = alone
        self._open: dict[httpx.Response, Iterator[bytes]] = {}

    def run(self, flow: Flow[T]) -> T:
        step: Callable[[Any], Effect] = flow.send
        given: Any = None
        while True:
            try:
                effect = step(given)
            except StopIteration as end:
                result: T = end.value
                return result
            try:
                step, given = flow.send, self.do(effect)
            except BaseException as error:
                step, given = flow.throw, error

    def do(self, effect: Effect) -> Any:
        match effect:
            case Open(request, whole):
                response = self._http.send(request, stream=True)
                self._open[response] = response.iter_raw()
                if whole or not response.is_success:
                    response.read()
                    self._close(response)
                return response
            case Take(response):
                return next(self._open[response], None)
            case Close(response):
                return self._close(response)
            case Sleep(seconds):
                return time.sleep(seconds)
            case Do(work):
                return work()
            case Alone(flow):
                with self._alone:
                    return self.run(flow)

    def close(self) -> None:
        for response in list(self._open):
            self._close(response)

    def _close(self, response: httpx.Response) -> None:
        self._open.pop(response, None)
        response.close()
