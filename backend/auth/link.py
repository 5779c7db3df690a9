"""Signed links, for clients that can't send a header: one opens one address until it expires."""

from __future__ import annotations

import time
from urllib.parse import urlencode

from backend.auth import keyring
from backend.problem import Problem
from backend.settings import Auth


class LinkRefused(Problem):
    status = 401
    code = "link_invalid"
    detail = "The link is wrong or has expired."
    advice = "Ask for the task again: its answer has fresh links."
    headers = {"WWW-Authenticate": "Bearer"}


def sign(auth: Auth, path: str, owner: str) -> str:
    """`path` with what makes it a link of `owner` (tenant and user) that is good for a while."""
    expires = int(time.time()) + auth.link_minutes * 60
    signature = keyring.sign(auth, "link", path, owner, str(expires))
    return f"{path}?{urlencode({'owner': owner, 'expires': expires, 'signature': signature})}"


def check(auth: Auth, path: str, owner: str, expires: int, signature: str) -> None:
    """Raises LinkRefused."""
    if not keyring.is_signed(auth, signature, "link", path, owner, str(expires)) or expires < time.time():
        raise LinkRefused
