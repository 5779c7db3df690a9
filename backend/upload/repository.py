from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from backend.clock import database_now
from backend.models import Task, Upload
from backend.tenant.scope import Scope, in_scope, in_tenant, serves_every_tenant


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


def twin(session: Session, tenant_id: UUID, sha256: str, size: int) -> str | None:
    """Key of the file of a kept song with this content, which nobody deletes until the transaction ends."""
    statement = select(Upload.storage_key).where(
        in_tenant(Upload, tenant_id),
        Upload.sha256 == sha256,
        Upload.size == size,
        Upload.deleted_at.is_(None),
        Upload.sample.is_(False),
    )
    return session.scalars(statement.order_by(Upload.id).limit(1).with_for_update(read=True)).one_or_none()


def move(session: Session, tenant_id: UUID, storage_key: str, to: str) -> None:
    """All kept songs that have this file."""
    session.execute(
        update(Upload)
        .where(
            in_tenant(Upload, tenant_id),
            Upload.storage_key == storage_key,
            Upload.deleted_at.is_(None),
            Upload.sample.is_(False),
        )
        .values(storage_key=to)
    )


@serves_every_tenant
def kept(session: Session, storage_keys: Collection[str]) -> set[str]:
    """Those that kept songs have."""
    listed, found = list(storage_keys), set[str]()
    for start in range(0, len(listed), 500):
        statement = select(Upload.storage_key).where(
            Upload.storage_key.in_(listed[start : start + 500]),
            Upload.deleted_at.is_(None),
            Upload.sample.is_(False),
        )
        found |= set(session.scalars(statement))
    return found


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
