"""Access tokens: JWT, HS256 and nothing else, with every claim that we rely on required."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from jose import JWTError, jwt

from backend.auth.keyring import accepted_key, signing_key
from backend.clock import utc_now
from backend.identity import new_id
from backend.problem import Problem
from backend.settings import Auth

ALGORITHM = "HS256"
LEEWAY_SECONDS = 30  # clocks of two API hosts


class TokenRefused(Problem):
    status = 401
    code = "token_invalid"
    detail = "The access token or API key is missing, wrong, expired or revoked."
    advice = "Log in with POST /api/v1/login and send `Authorization: Bearer <access_token>`, or an API key."
    headers = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: UUID
    tenant_id: UUID
    session_id: UUID


def issue(auth: Auth, claims: Claims, *, minutes: int | None = None, operator_id: UUID | None = None) -> str:
    """`operator_id` acts as the person: the token says so to whoever reads it (`act` of RFC 8693). We look it up."""
    now = utc_now()
    body = {
        "sub": str(claims.user_id),
        "tenant": str(claims.tenant_id),
        "sid": str(claims.session_id),
        "iss": auth.issuer,
        "aud": auth.audience,
        "iat": now,
        "exp": now + timedelta(minutes=minutes or auth.token_minutes),
        "jti": str(new_id()),
    }
    if operator_id is not None:
        body["act"] = {"sub": str(operator_id)}
    kid, secret = signing_key(auth)
    return jwt.encode(body, secret, algorithm=ALGORITHM, headers={"kid": kid})


def read(auth: Auth, token: str) -> Claims:
    """Raises TokenRefused. Without the `require_*` options python-jose takes a token that has no `exp`."""
    required = {f"require_{claim}": True for claim in ("exp", "iat", "sub", "aud", "iss")}
    try:
        body = jwt.decode(
            token,
            _secret_of(auth, token),
            algorithms=[ALGORITHM],
            audience=auth.audience,
            issuer=auth.issuer,
            options={**required, "leeway": LEEWAY_SECONDS},
        )
        return Claims(UUID(body["sub"]), UUID(body["tenant"]), UUID(body["sid"]))
    except (JWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TokenRefused from error


def _secret_of(auth: Auth, token: str) -> str:
    """The header is the sender's: its `kid` only picks among our own secrets, and no key in it is looked at."""
    header = jwt.get_unverified_header(token)
    secret = accepted_key(auth, header.get("kid"))
    if secret is None or header.get("alg") != ALGORITHM or "crit" in header:
        raise TokenRefused  # `crit` asks for something that we don't know (RFC 7515, 4.1.11)
    return secret
