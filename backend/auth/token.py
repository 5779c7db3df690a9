"""Access tokens: JWT, HS256 and nothing else, with every claim that we rely on required."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from jose import JWTError, jwt

from backend.clock import utc_now
from backend.identity import new_id
from backend.problem import Problem
from backend.settings import Auth

ALGORITHM = "HS256"
LEEWAY_SECONDS = 30  # clocks of two API hosts


class TokenRefused(Problem):
    status = 401
    code = "token_invalid"
    detail = "The access token is missing, wrong or expired."
    advice = "Log in with POST /api/v1/login and send `Authorization: Bearer <access_token>`."
    headers = {"WWW-Authenticate": "Bearer"}


@dataclass(frozen=True, slots=True)
class Claims:
    user_id: UUID
    tenant_id: UUID


def issue(auth: Auth, claims: Claims) -> str:
    now = utc_now()
    body = {
        "sub": str(claims.user_id),
        "tenant": str(claims.tenant_id),
        "iss": auth.issuer,
        "aud": auth.audience,
        "iat": now,
        "exp": now + timedelta(minutes=auth.token_minutes),
        "jti": str(new_id()),
    }
    return jwt.encode(body, auth.secret.get_secret_value(), algorithm=ALGORITHM)


def read(auth: Auth, token: str) -> Claims:
    """Raises TokenRefused. Without the `require_*` options python-jose takes a token that has no `exp`."""
    required = {f"require_{claim}": True for claim in ("exp", "iat", "sub", "aud", "iss")}
    try:
        body = jwt.decode(
            token,
            auth.secret.get_secret_value(),
            algorithms=[ALGORITHM],
            audience=auth.audience,
            issuer=auth.issuer,
            options={**required, "leeway": LEEWAY_SECONDS},
        )
        return Claims(user_id=UUID(body["sub"]), tenant_id=UUID(body["tenant"]))
    except (JWTError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise TokenRefused from error
