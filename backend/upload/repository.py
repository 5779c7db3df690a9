from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Task, Upload
from backend.tenant.scope import Scope, in_scope


def get(session: Session, scope: Scope, upload_id: UUID) -> Upload | None:
    return session.scalars(
        select(Upload).where(in_scope(Upload, scope), Upload.id == upload_id, Upload.deleted_at.is_(None))
    ).one_or_none()


def lock(session: Session, scope: Scope, upload_id: UUID, *, shared: bool) -> Upload | None:
    """Until the transaction ends: `shared` keeps it from being deleted, else from being used."""
    return session.scalars(
        select(Upload)
        .where(in_scope(Upload, scope), Upload.id == upload_id, Upload.deleted_at.is_(None))
        .with_for_update(read=shared)
    ).one_or_none()


def newest_named(session: Session, scope: Scope, filename: str, *, sample: bool) -> Upload | None:
    return session.scalars(
        select(Upload)
        .where(
            in_scope(Upload, scope),
            Upload.filename == filename,
            Upload.sample.is_(sample),
            Upload.deleted_at.is_(None),
        )
        .order_by(Upload.id.desc())
        .limit(1)
    ).one_or_none()


def page(session: Session, scope: Scope, *, before: UUID | None, limit: int) -> list[Upload]:
    """Newest first; songs of the sample library are not the user's own and not listed."""
    statement = (
        select(Upload)
        .where(in_scope(Upload, scope), Upload.deleted_at.is_(None), Upload.sample.is_(False))
        .order_by(Upload.id.desc())
        .limit(limit)
    )
    if before is not None:
        statement = statement.where(Upload.id < before)
    return list(session.scalars(statement))


def add(session: Session, upload: Upload) -> None:
    session.add(upload)
    session.flush()


def in_use(session: Session, scope: Scope, upload_id: UUID) -> bool:
    """Whether a task that is not finished still needs it."""
    statement = select(Task.id).where(
        in_scope(Task, scope), Task.upload_id == upload_id, Task.status.in_(("queued", "processing"))
    )
    return session.scalars(statement.limit(1)).first() is not None


def mark_deleted(session: Session, scope: Scope, upload_id: UUID) -> None:
    session.execute(
        update(Upload).where(in_scope(Upload, scope), Upload.id == upload_id).values(deleted_at=database_now())
    )
