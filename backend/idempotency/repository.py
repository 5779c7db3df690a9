from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Idempotency
from backend.tenant.scope import Scope, in_scope, serves_every_tenant


def reserve(session: Session, scope: Scope, key: str, request_sha256: str) -> bool:
    """Write a key's row; False when it was there before.

    On PostgreSQL the insert waits for a transaction that holds the same key, so that the loser of a race
    finds the winner's answer.
    """
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = (
        dialect.insert(Idempotency)
        .values(
            user_id=scope.user_id,
            key=key,
            tenant_id=scope.tenant_id,
            request_sha256=request_sha256,
            created_at=database_now(),
        )
        .on_conflict_do_nothing()
        .returning(Idempotency.key)  # PostgreSQL's driver tells no row count for this statement
    )
    return session.scalars(statement).one_or_none() is not None


def known(session: Session, scope: Scope, key: str) -> Idempotency | None:
    return session.scalars(
        select(Idempotency).where(in_scope(Idempotency, scope), Idempotency.key == key)
    ).one_or_none()


def keep_answer(session: Session, scope: Scope, key: str, answer: dict[str, Any]) -> None:
    session.execute(
        update(Idempotency).where(in_scope(Idempotency, scope), Idempotency.key == key).values(answer=answer)
    )


@serves_every_tenant
def forget(session: Session, older_seconds: float) -> None:
    session.execute(delete(Idempotency).where(Idempotency.created_at < database_now(-older_seconds)))
