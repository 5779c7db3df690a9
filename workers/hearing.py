"""Asking a storage or a mirror that may hang, and hearing meanwhile that the task is given up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError, wait
from functools import partial
from typing import TypeVar

from backend.logs import here
from engine.errors import SeparationCancelled

Result = TypeVar("Result")

LOOK_SECONDS = 0.2
"""How often it is asked whether the task is given up."""


def heard(
    step: Callable[[], Result], given_up: Callable[[], bool], undo: Callable[[], object] = lambda: None
) -> Result:
    """What `step` returns or raises. Raises SeparationCancelled when `given_up` meanwhile: nothing can end a request
    in its middle, so it is left to itself, in a thread that doesn't keep the process; `undo` follows it there."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            answer = step()
        except BaseException as error:
            settle = partial(outcome.set_exception, error)
        else:
            settle = partial(outcome.set_result, answer)
        try:
            settle()
        except InvalidStateError:  # given up
            undo()

    if not given_up():
        try:
            threading.Thread(target=here(run), name="heard", daemon=True).start()
        except RuntimeError:  # no thread is to be had: then it is done unheard
            return step()
        while not wait([outcome], LOOK_SECONDS).done:
            if given_up() and outcome.cancel():
                break
        else:
            return outcome.result()
    raise SeparationCancelled("Given up while it was waited for.")
