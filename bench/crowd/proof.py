"""What the service itself holds when everybody has gone: every task, every credit, every file."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import func, select

from backend.credit import service as credit
from backend.db import Database
from backend.models import Account, Artifact, Task, Transfer, Upload
from backend.settings import Settings


@dataclass(frozen=True, slots=True)
class Taken:
    """A task as its row tells it."""

    task_id: str
    tenant_id: UUID
    status: str
    created: datetime
    claimed: datetime | None
    finished: datetime | None

    @property
    def waited(self) -> float:
        """Seconds in the queue."""
        return (self.claimed - self.created).total_seconds() if self.claimed else float("nan")

    @property
    def worked(self) -> float:
        """Seconds in a worker's hands."""
        return (self.finished - self.claimed).total_seconds() if self.finished and self.claimed else float("nan")


@dataclass(frozen=True, slots=True)
class Proof:
    tasks: Sequence[Taken]
    lost: int
    """Tasks that were accepted and are not completed."""
    doubled: int
    """Tasks that nobody was told of, and captures beyond one a task."""
    held: int
    """Millicredits."""
    wrong_balances: int
    missing_files: int
    """Rows whose file is not there, or has another length."""
    orphan_files: int

    @property
    def clean(self) -> bool:
        faults = (
            self.lost, self.doubled, self.held, self.wrong_balances, self.missing_files, self.orphan_files,
        )  # fmt: skip
        return not any(faults)


def prove(settings: Settings, accepted: Collection[str]) -> Proof:
    """`accepted`: ids of the tasks that people were told of."""
    database = Database(settings)
    try:
        with database.read() as session:
            rows = [
                Taken(str(row.id), row.tenant_id, row.status, row.created_at, row.claimed_at, row.finished_at)
                for row in session.scalars(select(Task).order_by(Task.claimed_at))
            ]
            captured = select(Transfer.task_id).where(Transfer.kind == "capture").group_by(Transfer.task_id)
            twice = len(session.execute(captured.having(func.count() > 1)).all())
            held = session.scalar(select(func.coalesce(func.sum(Account.balance), 0)).where(Account.kind == "held"))
            wrong = len(credit.verify(session))
            files = dict(session.execute(select(Artifact.storage_key, Artifact.size)).all())
            songs = select(Upload.storage_key, Upload.size).where(Upload.sample.is_(False), Upload.deleted_at.is_(None))
            files |= dict(session.execute(songs).all())
    finally:
        database.dispose()
    completed = {row.task_id for row in rows if row.status == "completed"}
    strange = {row.task_id for row in rows} - set(accepted)
    found = _files(settings.data_dir)
    return Proof(
        tasks=rows,
        lost=len(set(accepted) - completed),
        doubled=len(strange) + twice,
        held=int(held or 0),
        wrong_balances=wrong,
        missing_files=sum(found.get(key) != size for key, size in files.items()),
        orphan_files=len(found.keys() - files.keys()),
    )


def _files(folder: Path) -> dict[str, int]:
    """Size by key, of everything that songs and results have left."""
    return {
        str(path.relative_to(folder)): path.stat().st_size
        for room in ("uploads", "output", "incoming")
        for path in (folder / room).rglob("*")
        if path.is_file() and not os.path.islink(path)
    }
