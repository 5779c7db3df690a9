"""The receipt of an erasure: signed, so that whoever has it can show later what went, and have it checked.

It is signed with a key of its own, made from the service's secret, and for an audience of its own: no receipt is
ever good as an access token, and no access token as a receipt.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from jose import JWTError, jwt

from backend.auth.keyring import accepted_key, signing_key
from backend.clock import utc_now
from backend.identity import new_id
from backend.problem import Problem
from backend.settings import Auth

ALGORITHM = "HS256"
KIND = "erasure-receipt+jwt"


class ReceiptRefused(Problem):
    status = 422
    code = "receipt_invalid"
    detail = "This is no receipt of ours, or it was changed, or the secret that signed it is not accepted any more."
    advice = "Send `receipt` as it was given to you, to the letter."
    field = "receipt"


def sign(auth: Auth, subject: str, content: dict[str, Any]) -> str:
    """It does not expire."""
    kid, secret = signing_key(auth)
    claims = {
        "iss": auth.issuer,
        "aud": _audience(auth),
        "sub": subject,
        "iat": utc_now(),
        "jti": str(new_id()),
        "erasure": content,
    }
    return jwt.encode(claims, _key(secret), algorithm=ALGORITHM, headers={"kid": kid, "typ": KIND})


def read(auth: Auth, receipt: str) -> dict[str, Any]:
    """What it says; raises ReceiptRefused."""
    try:
        header = jwt.get_unverified_header(receipt)
        secret = accepted_key(auth, header.get("kid"))
        if secret is None or (header.get("alg"), header.get("typ")) != (ALGORITHM, KIND) or "crit" in header:
            raise ReceiptRefused
        body = jwt.decode(
            receipt,
            _key(secret),
            algorithms=[ALGORITHM],
            audience=_audience(auth),
            issuer=auth.issuer,
            options={f"require_{claim}": True for claim in ("iat", "sub", "aud", "iss")},
        )
        content: dict[str, Any] = body["erasure"]
    except (JWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ReceiptRefused from error
    return content


def _audience(auth: Auth) -> str:
    return f"{auth.issuer}/erasure"


def _key(secret: str) -> str:
    return hmac.new(secret.encode(), b"erasure receipt", hashlib.sha256).hexdigest()
