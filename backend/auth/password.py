"""Password hashes: argon2 through passlib, at most a few at once.

passlib raises two DeprecationWarnings at import on current Pythons (it asks for `crypt` and for
argon2's version the old way); `pyproject.toml` allows exactly those.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from threading import BoundedSemaphore
from typing import ParamSpec, TypeVar

from passlib.context import CryptContext

from backend.problem import Problem

Given = ParamSpec("Given")
Told = TypeVar("Told")

# Argon2 takes any length; a bound keeps a login from being a way to make us hash megabytes.
LONGEST_PASSWORD = 256

# One hash takes 64 MiB and hundredths of a second on four cores: a storm of logins must not starve the other routes.
# So few are made at once, on half of the cores, by threads that step back for all others. The routes' threads must
# not be taken by waiting either: who finds the waiting room full is told to come again.
HASHES_AT_ONCE = max(1, len(os.sched_getaffinity(0)) // 2)
LOGINS_AT_ONCE = 10
BEHIND_OTHERS = 15
_waiting_room = BoundedSemaphore(LOGINS_AT_ONCE)
_context = CryptContext(schemes=["argon2"], deprecated="auto")


class TooManyLogins(Problem):
    status = 503
    code = "logins_busy"
    detail = "Too many people are logging in at this moment."
    advice = "Send the same request again in 2 seconds."
    headers = {"Retry-After": "2"}


def refuse_when_full() -> None:
    """Raises TooManyLogins: a storm must not write to the database for each of those who are sent away."""
    with _place():
        pass


def hash_password(password: str) -> str:
    """Raises TooManyLogins."""
    return _in_turn(_context.hash, password)


def verify_password(password: str, hashed: str | None) -> bool:
    """Takes as long for an unknown user (`hashed` None) as for a known one; raises TooManyLogins."""
    return _in_turn(_matches, password, hashed) and hashed is not None


def _matches(password: str, hashed: str | None) -> bool:
    dummy = _dummy_hash()  # for known users too: its first making costs time
    return _context.verify(password, hashed or dummy)


def _in_turn(function: Callable[Given, Told], *args: Given.args, **kwargs: Given.kwargs) -> Told:
    with _place():
        return _hashers.submit(function, *args, **kwargs).result()


@contextmanager
def _place() -> Iterator[None]:
    if not _waiting_room.acquire(blocking=False):
        raise TooManyLogins
    try:
        yield
    finally:
        _waiting_room.release()


def _step_back() -> None:
    with suppress(OSError):  # on Linux a thread's own; elsewhere it may be refused
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), BEHIND_OTHERS)


_hashers = ThreadPoolExecutor(HASHES_AT_ONCE, thread_name_prefix="password", initializer=_step_back)


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _context.hash("nobody has this password")
