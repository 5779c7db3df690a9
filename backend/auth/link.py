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


def sign(auth: Auth, path: str, way_in: WayIn) -> str:
    """`path` with what makes it a link that is good for a while, for whom that let in."""
    owner = str(way_in)
    expires = int(time.time()) + auth.link_minutes * 60
    signature = keyring.sign(auth, "link", path, owner, str(expires))
    return f"{path}?owner={owner}&expires={expires}&signature={signature}"  # nothing in them needs quoting


def check(auth: Auth, path: str, owner: str, expires: int, signature: str) -> WayIn:
    """For whom it was made; whether they are still let in is for the caller to see. Raises LinkRefused."""
    if not keyring.is_signed(auth, signature, "link", path, owner, str(expires)) or expires < time.time():
        raise LinkRefused
    way_in = parse(owner)
    if way_in is None:
        raise LinkRefused
    return way_in
