"""Doing the next piece of work while the last one is being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Literal, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], depth: int, name: str) -> Generator[Item]:
    """Yield `items`, computed by a thread that keeps up to `depth` of them ready.

    An error in the thread is raised here, in its place. Closing this generator (or leaving it early) stops
    the thread, closes `items` in it and waits for it: nothing runs on when this has returned.
    """
    ready: queue.Queue[tuple[Literal["item"], Item] | tuple[Literal["end"], BaseException | None]]
    ready = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        failure: BaseException | None = None
        try:
            for item in items:
                if stop.is_set():
                    break
                ready.put(("item", item))
                if stop.is_set():
                    break
        except BaseException as error:
            failure = error
        try:
            close = getattr(items, "close", None)
            if close is not None:
                close()
        except BaseException as error:
            failure = failure or error
        ready.put(("end", failure))

    thread = threading.Thread(target=work, name=name, daemon=True)
    thread.start()
    finished = False
    try:
        while True:
            message = ready.get()
            if message[0] == "end":
                finished = True
                if message[1] is not None:
                    raise message[1]
                return
            yield message[1]
            # Not kept alive while the next one is waited for: items can be large.
            del message
    finally:
        stop.set()
        while not finished:
            finished = ready.get()[0] == "end"
        thread.join()
