"""Which files the rows name, of all tenants: asked by keys and the ids in them, and told page by page."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from backend.models import Account, Artifact, Task, Upload
from backend.models.task import FINISHED
from backend.tenant.scope import serves_every_tenant

PAGE = 500


@dataclass(frozen=True, slots=True)
class Named:
    """A file that a row promises."""

    row: UUID
    key: str
    size: int
    sha256: str


@serves_every_tenant
def identity(session: Session) -> UUID | None:
    """What tells this database from every other: the house's account, which `prepare` made. None in an empty one."""
    return session.scalars(select(Account.id).where(Account.kind == "issued")).one_or_none()


@serves_every_tenant
def song_keys(session: Session, keys: Collection[str]) -> set[str]:
    """Those of these keys that songs which are kept have: their own, or that of the same content."""
    statement = select(Upload.storage_key).where(
        Upload.storage_key.in_(keys), Upload.deleted_at.is_(None), Upload.sample.is_(False)
    )
    return set(session.scalars(statement))


@serves_every_tenant
def result_keys(session: Session, tasks: Collection[UUID]) -> set[str]:
    """Of those of these tasks that are kept."""
    statement = (
        select(Artifact.storage_key)
        .join(Task, Task.id == Artifact.task_id)
        .where(Artifact.task_id.in_(tasks), Task.deleted_at.is_(None))
    )
    return set(session.scalars(statement))


@serves_every_tenant
def unfinished(session: Session, tasks: Collection[UUID]) -> set[UUID]:
    """Those of these tasks that may still write files."""
    return set(session.scalars(select(Task.id).where(Task.id.in_(tasks), Task.status.not_in(FINISHED))))


@serves_every_tenant
def songs(session: Session, after: UUID | None) -> list[Named]:
    """A page of the songs that are kept, in the order of their ids."""
    columns = Upload.id, Upload.storage_key, Upload.size, Upload.sha256
    statement = select(*columns).where(Upload.deleted_at.is_(None), Upload.sample.is_(False))
    if after is not None:
        statement = statement.where(Upload.id > after)
    return [Named(*row) for row in session.execute(statement.order_by(Upload.id).limit(PAGE))]


@serves_every_tenant
def results(session: Session, after: UUID | None) -> list[Named]:
    """A page of the results that are kept, in the order of their ids: those of a task lie together."""
    columns = Artifact.id, Artifact.storage_key, Artifact.size, Artifact.sha256
    statement = select(*columns).join(Task, Task.id == Artifact.task_id).where(Task.deleted_at.is_(None))
    if after is not None:
        statement = statement.where(Artifact.id > after)
    return [Named(*row) for row in session.execute(statement.order_by(Artifact.id).limit(PAGE))]


@serves_every_tenant
def every(session: Session) -> Iterator[Named]:
    """All that is kept, of one moment when the session sees one."""
    for read in (songs, results):
        after = None
        while page := read(session, after):
            yield from page
            after = page[-1].row
