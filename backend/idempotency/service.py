"""Retries made safe: the same Idempotency-Key gives the same answer, and does the work once.

Keys belong to a user in a tenant and are kept for a day. The answer is written in the transaction that does the work.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from sqlalchemy.orm import Session

from backend.idempotency import repository
from backend.problem import Problem
from backend.tenant.scope import Scope

KEPT_SECONDS = 24 * 3600.0


class KeyReused(Problem):
    status = 422
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key was used for another request."
    advice = "Use a new key for a new request; repeat a key only with the very same body."


def fingerprint(route: str, body: dict[str, Any]) -> str:
    return hashlib.sha256(f"{route} {json.dumps(body, sort_keys=True)}".encode()).hexdigest()


def answer_given(session: Session, scope: Scope, key: str, request_sha256: str) -> dict[str, Any] | None:
    """The answer that this key got before, if any; raises KeyReused."""
    known = repository.known(session, scope, key)
    if known is None:
        return None
    if known.request_sha256 != request_sha256:
        raise KeyReused
    return known.answer


def reserve(session: Session, scope: Scope, key: str, request_sha256: str) -> bool:
    """Take a key for the current transaction; False when another has it."""
    return repository.reserve(session, scope, key, request_sha256)


def keep(session: Session, scope: Scope, key: str, answer: dict[str, Any]) -> None:
    repository.keep_answer(session, scope, key, answer)


def forget_old(session: Session) -> None:
    repository.forget(session, KEPT_SECONDS)
