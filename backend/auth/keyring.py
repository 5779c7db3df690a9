"""The secrets that sign: one does, several are accepted, so that a change logs nobody out.

A key's id is made from the secret itself: hosts that share the settings agree on it without a list of names, and
nothing that a token says can point anywhere but into this list.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii

from backend.settings import Auth


def signing_key(auth: Auth) -> tuple[str, str]:
    """(id, secret)."""
    return next(iter(_ring(auth.secrets).items()))


def accepted_key(auth: Auth, kid: object) -> str | None:
    """The secret of this id, if we have it."""
    return _ring(auth.secrets).get(kid) if isinstance(kid, str) else None


def sign(auth: Auth, purpose: str, *parts: str) -> str:
    """The first word keeps a signature from being taken for one made for another purpose."""
    return signer(auth, purpose)(*parts)


def signer(auth: Auth, purpose: str) -> Callable[..., str]:
    """`sign` for many: takes the parts."""
    secret = auth.secrets[0]
    return lambda *parts: _mac(secret, purpose, parts)


def is_signed(auth: Auth, signature: str, purpose: str, *parts: str) -> bool:
    given = signature.encode("utf-8", "replace")
    return any(hmac.compare_digest(_mac(secret, purpose, parts).encode(), given) for secret in auth.secrets)


def _mac(secret: str, purpose: str, parts: tuple[str, ...]) -> str:
    # As JSON: no part can run over into the next, and any text has bytes. (`json.dumps` gives the same in twice the
    # time, which a list with forty links feels.)
    said = f"[{', '.join(map(encode_basestring_ascii, (purpose, *parts)))}]"
    return hmac.digest(secret.encode(), said.encode(), "sha256").hex()


@lru_cache(maxsize=8)
def _ring(secrets: tuple[str, ...]) -> dict[str, str]:
    return {hashlib.sha256(f"kid\n{secret}".encode()).hexdigest()[:16]: secret for secret in secrets}
