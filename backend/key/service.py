"""API keys: for programs, in place of a password.

A key is `vrk_`, a public part that finds its row, and 256 random bits. Only the hash of the whole is kept: it needs
no slow hashing, because nobody can guess 256 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
from collections.abc import Collection, Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.clock import utc_now
from backend.db import Database
from backend.key import repository
from backend.key.repository import Holder as Holder
from backend.models import ApiKey
from backend.models.api_key import Permission
from backend.problem import Problem
from backend.tenant import service as tenants
from backend.tenant.scope import Scope

log = logging.getLogger(__name__)

MARK = "vrk_"
_PUBLIC_BYTES = 6
PUBLIC_LENGTH = len(MARK) + 2 * _PUBLIC_BYTES
MOST_KEYS = 50
USED_SECONDS = 60.0
"""How exact `last_used_at` is: one write a minute, not one a request."""


class KeyUnknown(Problem):
    status = 404
    code = "key_not_found"
    detail = "There is no such API key."
    advice = "Check the id; GET /api/v1/keys lists yours."


class KeyExpired(Problem):
    status = 422
    code = "key_expires_in_the_past"
    detail = "The key would have expired already."
    advice = "Give a time in the future, or none."
    field = "expires_at"


class TooManyKeys(Problem):
    status = 409
    code = "too_many_keys"
    detail = f"You have {MOST_KEYS} API keys."
    advice = "Revoke one that is no longer used: DELETE /api/v1/keys/{id}."


def create(
    session: Session,
    actor: Actor,
    scope: Scope,
    name: str,
    permissions: Iterable[Permission],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    """The row, and the key itself, which nobody can show again. Raises TooManyKeys, KeyExpired, MembershipEnded."""
    tenants.require_member(session, scope)
    if expires_at is not None and expires_at <= utc_now():
        raise KeyExpired
    if repository.count(session, scope) >= MOST_KEYS:
        raise TooManyKeys
    prefix = MARK + secrets.token_hex(_PUBLIC_BYTES)
    secret = f"{prefix}_{secrets.token_urlsafe(32)}"
    row = ApiKey(
        tenant_id=scope.tenant_id,
        user_id=scope.user_id,
        name=name,
        prefix=prefix,
        sha256=_sha256(secret),
        scopes=" ".join(sorted(set(permissions))),
        expires_at=expires_at,
    )
    repository.add(session, row)
    after = {"scopes": row.scopes, "expires_at": None if expires_at is None else expires_at.isoformat()}
    audit.record(session, actor, "key.made", tenant_id=scope.tenant_id, target=row.id, after=after)
    return row, secret


def listed(session: Session, scope: Scope) -> list[ApiKey]:
    """Those that are not revoked, newest first."""
    return repository.listed(session, scope)


def revoke(session: Session, actor: Actor, scope: Scope, key_id: UUID) -> None:
    """From the next request on; raises KeyUnknown."""
    if not repository.revoke(session, scope, key_id):
        raise KeyUnknown
    audit.record(session, actor, "key.revoked", tenant_id=scope.tenant_id, target=key_id)


def revoke_all_in(session: Session, scope: Scope) -> None:
    """Of somebody who leaves a tenant."""
    repository.revoke_all_in(session, scope)


def revoke_all(session: Session, user_id: UUID) -> None:
    repository.revoke_all(session, user_id)


def holder(database: Database, shown: str) -> Holder | None:
    """Whose key it is, if it is good; its use is written down."""
    with database.read() as session:
        found = repository.holder(session, shown[:PUBLIC_LENGTH], USED_SECONDS)
    if found is None or not hmac.compare_digest(found.key.sha256, _sha256(shown)):
        return None
    if found.idle:
        try:
            with database.write() as session:
                repository.used(session, found.key.id)
        except OperationalError as error:  # a request that only reads must not fail for it
            log.warning("could not write when a key was used: %s", type(error).__name__)
    return found


def holder_of(session: Session, key_id: UUID) -> Holder | None:
    """Of a key that was looked at before, if it is still good. Is no use of it."""
    return repository.holder_of(session, key_id)


def still_good(session: Session, key_ids: Collection[UUID]) -> set[UUID]:
    """Of keys that were looked at before."""
    return repository.still_good(session, key_ids)


def _sha256(shown: str) -> str:
    return hashlib.sha256(shown.encode("utf-8", "replace")).hexdigest()
