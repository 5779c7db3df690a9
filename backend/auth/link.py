"""Signed links, for clients that can't send a header: one opens one address until it expires."""

from __future__ import annotations

import hashlib
import hmac
import time
from urllib.parse import urlencode

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
    query = {"owner": owner, "expires": expires, "signature": _signature(auth, path, owner, expires)}
    return f"{path}?{urlencode(query)}"


def check(auth: Auth, path: str, owner: str, expires: int, signature: str) -> None:
    """Raises LinkRefused."""
    right = _signature(auth, path, owner, expires)
    if not hmac.compare_digest(right.encode(), signature.encode("utf-8", "replace")) or expires < time.time():
        raise LinkRefused


def _signature(auth: Auth, path: str, owner: str, expires: int) -> str:
    # The first word keeps a signature from being taken for one made for another purpose.
    message = "\n".join(("link", path, owner, str(expires))).encode()
    return hmac.new(auth.secret.get_secret_value().encode(), message, hashlib.sha256).hexdigest()
