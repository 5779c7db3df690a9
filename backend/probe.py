"""Asking what may never answer, a broker for instance, without waiting for it for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet


class Probe:
    """One question at a time, in a thread of its own; its answer is good for a while, for whoever asks meanwhile."""

    def __init__(self, name: str, check: Callable[[], None], *, patience: float, fresh: float) -> None:
        """`check` returns, or raises what is wrong. `patience`: how long to wait for it; `fresh`: how long its answer
        is good; both in seconds."""
        self.name, self._check = name, check
        self._patience, self._fresh = patience, fresh
        self._lock = threading.Lock()
        self._asked_at = self._answered_at = 0.0
        self._answer: Future[str | None] | None = None

    def failure(self) -> str | None:
        """What is wrong; None when nothing is."""
        with self._lock:
            answer = self._answer
            if answer is None or (answer.done() and time.monotonic() - self._answered_at >= self._fresh):
                answer = self._answer = Future()
                self._asked_at = time.monotonic()
                threading.Thread(target=self._ask, args=(answer,), name=f"probe-{self.name}", daemon=True).start()
            left = self._asked_at + self._patience - time.monotonic()
        try:
            return answer.result(max(0.0, left))
        except NotYet:
            return f"{self.name}: no answer within {self._patience:g} s"

    def _ask(self, answer: Future[str | None]) -> None:
        told = None
        try:
            self._check()
        except Exception as error:  # each transport raises its own kinds, with addresses in their texts
            told = f"{self.name}: {error if isinstance(error, Failing) else type(error).__name__}"
        self._answered_at = time.monotonic()
        answer.set_result(told)


class Failing(Exception):
    """Says in a few words what is wrong, for everybody to read."""
