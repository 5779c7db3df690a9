"""What a client can do, without the doing: each method is a flow that both clients run."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from vocal_remover.calls import Call, Caller
from vocal_remover.effects import Flow
from vocal_remover.errors import NotCompleted
from vocal_remover.records import Credits, Listener, Ordered, Progress, Result, Task, Upload, read
from vocal_remover.transfer import fetch_stem, file_name, send_song
from vocal_remover.waiting import look, wait

_NEXT = re.compile(r'<([^>]*)>\s*;\s*rel="?next"?')


def ignore(_: Progress) -> None:
    """Nobody wants to know."""


def upload(caller: Caller, song: str | Path, tell: Listener | None) -> Flow[Upload]:
    return (yield from send_song(caller, Path(song), tell or ignore))


def submit(caller: Caller, song: Upload | str, key: str | None, wishes: Mapping[str, Any]) -> Flow[Ordered]:
    upload_id = song.id if isinstance(song, Upload) else song
    body = {"upload_id": upload_id} | {name: value for name, value in wishes.items() if value is not None}
    # Made once, before the first attempt: however often it is sent, there is one task.
    headers = {"Idempotency-Key": key or uuid.uuid4().hex}
    answer = yield from caller.ask(Call("POST", ("separate",), json=body, headers=headers))
    return read(Ordered.of, answer)


def download(
    caller: Caller, task: Task | str, into: str | Path, stems: Sequence[str] | None, tell: Listener | None
) -> Flow[dict[str, Path]]:
    if isinstance(task, str):
        task = yield from look(caller, task)
    if task.status != "completed":
        raise NotCompleted(task)
    files = {}
    for stem in task.stems:
        if stems is None or stem.name in stems:
            files[stem.name] = Path(into) / file_name(stem, stem.path.rpartition(".")[2])
            yield from fetch_stem(caller, task.id, stem, files[stem.name], tell or ignore)
    return files


def separate(
    caller: Caller,
    song: str | Path,
    into: str | Path | None,
    key: str | None,
    timeout: float | None,
    tell: Listener | None,
    wishes: Mapping[str, Any],
) -> Flow[Result]:
    song = Path(song)
    sent = yield from upload(caller, song, tell)
    ordered = yield from submit(caller, sent, key, wishes)
    task = yield from wait(caller, ordered.id, tell or ignore, timeout)
    folder = song.with_suffix("") if into is None else Path(into)
    if folder == song:  # a song without a suffix
        folder = song.with_name(f"{song.name} stems")
    files = yield from download(caller, task, folder, None, tell)
    return Result(task, folder, files)


def wait_for(caller: Caller, task_id: str, timeout: float | None, tell: Listener | None) -> Flow[Task]:
    return (yield from wait(caller, task_id, tell or ignore, timeout))


def cancel(caller: Caller, task_id: str) -> Flow[Task]:
    """Repeatable: cancelling a cancelled task is no error."""
    answer = yield from caller.ask(Call("POST", ("tasks", task_id, "cancel")))
    return read(Task.of, answer)


def page(caller: Caller, status: str | None, cursor: str | None, size: int) -> Flow[tuple[list[Task], str | None]]:
    """A page of tasks, newest first, and where the next begins."""
    params = {"limit": str(size)}
    if status is not None:
        params["status"] = status
    if cursor is not None:
        params["cursor"] = cursor
    response: httpx.Response = yield from caller.send(Call("GET", ("history",), params=params), whole=True)
    tasks = read(lambda answer: [Task.of(row) for row in answer.json()], response)
    link = _NEXT.search(response.headers.get("link", ""))
    # Only the cursor of it: a proxy may have made another address of it, and the key goes to ours alone.
    following = read(lambda found: httpx.URL(found[1]).params["cursor"], link) if link else None
    return tasks, following


def credit(caller: Caller) -> Flow[Credits]:
    answer = yield from caller.ask(Call("GET", ("credits",)))
    return read(Credits.of, answer)
