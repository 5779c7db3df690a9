"""Doing the next piece of work while the last one is being used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Literal, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterator[Item], name: str) -> Generator[Item]:
    """Yield `items`, the next one computed by a thread while the last one is being used.

    No more than these two exist at a time: the thread begins an item when the one before it has been taken.
    An error in the thread is raised here, in its place. Closing this generator (or leaving it early) stops
    the thread, closes `items` in it and waits for it: nothing runs on when this has returned.
    """
    ready: queue.SimpleQueue[tuple[Literal["item"], Item] | tuple[Literal["end"], BaseException | None]]
    ready = queue.SimpleQueue()
    wanted = threading.Semaphore(1)
    stop = threading.Event()

    def work() -> None:
        failure: BaseException | None = None
        try:
            while wanted.acquire() and not stop.is_set():
                ready.put(("item", next(items)))
        except StopIteration:
            pass
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
            wanted.release()
            yield message[1]
            # Not kept alive while the next one is waited for: items can be large.
            del message
    finally:
        stop.set()
        wanted.release()
        while not finished:
            finished = ready.get()[0] == "end"
        thread.join()
