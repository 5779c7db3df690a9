"""Waiting for a task: its events as they happen, and looks at it where no events come through."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import httpx

from vocal_remover.calls import Call, Caller
from vocal_remover.effects import Close, Flow, Sleep, Take
from vocal_remover.errors import Refused, TaskCancelled, TaskFailed, TookTooLong, Unreachable, Unreadable
from vocal_remover.records import FINISHED, Listener, Progress, Task, read
from vocal_remover.sse import Parser

DEAF = 2
"""Rounds without an event after which only every eighth round tries to listen."""
SELDOM = 8


@dataclass
class _Ear:
    last: int = 0
    """Number of the last event that has one."""
    deaf: int = 0
    """Rounds in which nothing was heard, in a row."""
    pause: float = 0.0
    """Seconds that the service asked for."""


def look(caller: Caller, task_id: str) -> Flow[Task]:
    answer = yield from caller.ask(Call("GET", ("tasks", task_id)))
    return read(Task.of, answer)


def wait(caller: Caller, task_id: str, tell: Listener, timeout: float | None) -> Flow[Task]:
    """The completed task; raises TaskFailed, TaskCancelled, TookTooLong."""
    give_up = None if timeout is None else time.monotonic() + timeout
    ear = _Ear()
    while True:
        if ear.deaf < DEAF or ear.deaf % SELDOM == 0:
            yield from _listen(caller, task_id, ear, tell, give_up)
        else:
            ear.deaf += 1
        task: Task = yield from look(caller, task_id)
        tell(Progress(task.status, task.progress, task.stage, task.queue_position))
        if task.status == "completed":
            return task
        if task.finished:
            raise (TaskFailed if task.status == "failed" else TaskCancelled)(task)
        pause = max(ear.pause, caller.patience.look_again(ear.deaf))
        if give_up is not None and timeout is not None:
            if (left := give_up - time.monotonic()) <= 0:
                raise TookTooLong(task_id, timeout)
            pause = min(pause, left)
        yield Sleep(pause)


def _listen(caller: Caller, task_id: str, ear: _Ear, tell: Listener, give_up: float | None) -> Flow[None]:
    """Until the task is finished or the stream is; why it ended, the next look at the task tells."""
    silence = caller.patience.silence
    if give_up is not None:
        silence = max(0.1, min(silence, give_up - time.monotonic()))
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store", "Last-Event-ID": str(ear.last)}
    call = Call("GET", ("tasks", task_id, "events"), headers=headers, attempts=1, silence=silence)
    ear.deaf, ear.pause = ear.deaf + 1, 0.0
    try:
        response: httpx.Response = yield from caller.send(call, whole=False)
    except Refused as error:
        ear.pause = min(error.retry_after or 0.0, caller.patience.longest_wait)
        return
    except Unreachable:
        return
    parser, told_all = Parser(), False
    try:
        while (piece := (yield Take(response))) is not None:
            for event in parser.feed(piece):
                told = read(Progress.of, json.loads(event.data))
                ear.deaf = 0
                if event.id is not None and event.id.isdigit():
                    if int(event.id) <= ear.last:
                        continue
                    ear.last = int(event.id)
                if told.status in FINISHED:
                    told_all = True
                    break
                tell(told)
            if told_all or (give_up is not None and time.monotonic() > give_up):
                break
    except (httpx.TransportError, ValueError, Unreadable):
        pass  # cut off, mute, or no events at all
    yield Close(response)
