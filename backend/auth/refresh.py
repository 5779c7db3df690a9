"""Refresh tokens: which login, and the how-manyeth token of it, signed.

The login's row knows the newest number. A good signature over an older number is a token that was used before,
however long ago, and nobody can make one up to end a stranger's login.
"""

from __future__ import annotations

from uuid import UUID

from backend.auth import keyring
from backend.settings import Auth

PREFIX = "vrr_"
_PURPOSE = "refresh"


def issue(auth: Auth, session_id: UUID, generation: int) -> str:
    signature = keyring.sign(auth, _PURPOSE, session_id.hex, str(generation))
    return f"{PREFIX}{session_id.hex}.{generation}.{signature}"


def read(auth: Auth, token: str) -> tuple[UUID, int] | None:
    """(session's id, generation); None for what we did not sign."""
    session_id, _, rest = token.removeprefix(PREFIX).partition(".")
    generation, _, signature = rest.partition(".")
    if not keyring.is_signed(auth, signature, _PURPOSE, session_id, generation):
        return None
    return UUID(session_id), int(generation)
