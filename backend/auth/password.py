"""Password hashes: argon2 through passlib, at most a few at once.

passlib raises two DeprecationWarnings at import on current Pythons (it asks for `crypt` and for
argon2's version the old way); `pyproject.toml` allows exactly those.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from threading import BoundedSemaphore

from passlib.context import CryptContext

from backend.problem import Problem

# Argon2 takes any length; a bound keeps a login from being a way to make us hash megabytes.
LONGEST_PASSWORD = 256

# One hash takes 64 MiB and tens of milliseconds: a storm of logins must not starve the other routes. It must not
# take all their threads by waiting either: who finds the waiting room full is told to come again.
_turns = BoundedSemaphore(2)
_waiting_room = BoundedSemaphore(10)
_context = CryptContext(schemes=["argon2"], deprecated="auto")


class TooManyLogins(Problem):
    status = 503
    code = "logins_busy"
    detail = "Too many people are logging in at this moment."
    advice = "Send the same request again in 2 seconds."
    headers = {"Retry-After": "2"}


def hash_password(password: str) -> str:
    """Raises TooManyLogins."""
    with _turn():
        return _context.hash(password)


def verify_password(password: str, hashed: str | None) -> bool:
    """Takes as long for an unknown user (`hashed` None) as for a known one; raises TooManyLogins."""
    with _turn():
        dummy = _dummy_hash()  # for known users too: its first making costs time
        matches = _context.verify(password, hashed or dummy)
    return matches and hashed is not None


@contextmanager
def _turn() -> Iterator[None]:
    if not _waiting_room.acquire(blocking=False):
        raise TooManyLogins
    try:
        with _turns:
            yield
    finally:
        _waiting_room.release()


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _context.hash("nobody has this password")
