"""Signed links, for clients that can't send a header.

One opens one address, until it expires or the login or key that it was made for ends.
"""

from __future__ import annotations

import time

from backend.auth import keyring
from backend.problem import Problem
from backend.settings import Auth
from backend.way_in import WayIn, parse


class LinkRefused(Problem):
    status = 401
    code = "link_invalid"
    detail = "The link is wrong, or it or the login that it was made for has ended."
    advice = "Ask for the task again: its answer has fresh links."
    headers = {"WWW-Authenticate": "Bearer"}


class Signer:
    """Makes links, good for a while, for whom that let in; one signer for all the links of an answer."""

    def __init__(self, auth: Auth, way_in: WayIn) -> None:
        self._owner = str(way_in)
        self._expires = str(int(time.time()) + auth.link_minutes * 60)
        self._mac = keyring.signer(auth, "link")

    def sign(self, path: str) -> str:
        """`path` with what makes it a link; nothing in that needs quoting."""
        signature = self._mac(path, self._owner, self._expires)
        return f"{path}?owner={self._owner}&expires={self._expires}&signature={signature}"


def sign(auth: Auth, path: str, way_in: WayIn) -> str:
    return Signer(auth, way_in).sign(path)


def check(auth: Auth, path: str, owner: str, expires: int, signature: str) -> WayIn:
    """For whom it was made; whether they are still let in is for the caller to see. Raises LinkRefused."""
    if not keyring.is_signed(auth, signature, "link", path, owner, str(expires)) or expires < time.time():
        raise LinkRefused
    way_in = parse(owner)
    if way_in is None:
        raise LinkRefused
    return way_in
