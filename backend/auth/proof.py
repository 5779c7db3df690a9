"""Tokens that go out by mail. Whoever shows one has read the mailbox.

Nothing is stored: the signature covers what the token will change (the password's hash, the address as not yet
proven), so using one spoils it and all its sisters.
"""

from __future__ import annotations

import time
from typing import Literal
from uuid import UUID

from backend.auth import keyring
from backend.models import User
from backend.settings import Auth

Purpose = Literal["reset", "verify"]


def issue(auth: Auth, purpose: Purpose, user: User) -> str:
    expires = str(int(time.time()) + auth.mail_minutes * 60)
    signature = keyring.sign(auth, purpose, user.id.hex, expires, *_state(purpose, user))
    return f"{user.id.hex}.{expires}.{signature}"


def named(token: str) -> UUID | None:
    """Whose token it says that it is; `holds` tells whether that is so."""
    try:
        return UUID(token.partition(".")[0])
    except ValueError:
        return None


def holds(auth: Auth, purpose: Purpose, user: User, token: str) -> bool:
    _, expires, signature = (*token.split("."), "", "")[:3]
    if not keyring.is_signed(auth, signature, purpose, user.id.hex, expires, *_state(purpose, user)):
        return False
    return int(expires) >= time.time()


def _state(purpose: Purpose, user: User) -> tuple[str, ...]:
    if purpose == "reset":
        return user.email, user.password_hash
    return user.email, "not proven" if user.email_verified_at is None else "proven"
