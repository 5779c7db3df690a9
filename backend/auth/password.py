"""Password hashes: argon2 through passlib, at most a few at once.

passlib raises two DeprecationWarnings at import on current Pythons (it asks for `crypt` and for
argon2's version the old way); `pyproject.toml` allows exactly those.
"""

from __future__ import annotations

from functools import lru_cache
from threading import BoundedSemaphore

from passlib.context import CryptContext

# Argon2 takes any length; a bound keeps a login from being a way to make us hash megabytes.
LONGEST_PASSWORD = 256

# One hash takes 64 MiB and tens of milliseconds: a storm of logins must not starve the other routes.
_turns = BoundedSemaphore(2)
_context = CryptContext(schemes=["argon2"], deprecated="auto")


def hash_password(password: str) -> str:
    with _turns:
        return _context.hash(password)


def verify_password(password: str, hashed: str | None) -> bool:
    """Takes as long for an unknown user (`hashed` None) as for a known one."""
    with _turns:
        matches = _context.verify(password, hashed or _dummy_hash())
    return matches and hashed is not None


@lru_cache(maxsize=1)
def _dummy_hash() -> str:
    return _context.hash("nobody has this password")
