from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

TaskStatus = Literal["queued", "processing", "completed", "failed", "cancelled"]
FINISHED = ("completed", "failed", "cancelled")

_KEPT = text("deleted_at IS NULL")
_REPEATS = text("retry_of IS NOT NULL")
_LITTERED = text("finished_at IS NOT NULL AND attempt > 0")


class Task(Base):
    """One job for one song. The row is the truth; a broker message only says that there is work.

    The lease lives here and not on the step: one worker answers for a task, even where others make parts of it
    (`Part`). Every change of state is one statement guarded by `status` and `attempt` (`backend.task.lifecycle`),
    and the database refuses all others by triggers.
    """

    __tablename__ = "task"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "upload_id"], ["upload.tenant_id", "upload.id"]),
        one_of("status", get_args(TaskStatus)),
        CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint(
            "(status IN ('completed', 'failed', 'cancelled')) = (finished_at IS NOT NULL)", name="finished"
        ),
        CheckConstraint("progress >= 0 AND progress <= 1", name="progress"),
        CheckConstraint("price >= 0", name="price"),
        Index("ix_task_queue", "status", "tenant_id", "id", "seconds"),
        Index("ix_task_history", "tenant_id", "user_id", "id", sqlite_where=_KEPT, postgresql_where=_KEPT),
        Index(
            "ix_task_history_status", "tenant_id", "user_id", "status", "id", sqlite_where=_KEPT, postgresql_where=_KEPT
        ),
        Index(None, "tenant_id", "id"),
        Index("ix_task_served", "tenant_id", "claimed_at"),
        Index(None, "tenant_id", "upload_id"),
        Index("ix_task_repeats", "tenant_id", "retry_of", sqlite_where=_REPEATS, postgresql_where=_REPEATS),
        Index("ix_task_littered", "finished_at", sqlite_where=_LITTERED, postgresql_where=_LITTERED),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    upload_id: Mapped[UUID]
    source_name: Mapped[str]
    seconds: Mapped[float]
    price: Mapped[int] = mapped_column(BigInteger)
    """Millicredits, frozen at submit."""

    status: Mapped[TaskStatus] = mapped_column(String, default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    """Attempts that ended badly; one that was handed back in good order is none."""
    lease_until: Mapped[datetime | None]
    worker: Mapped[str | None]
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    """No longer asked for: a task is cancelled at once. Here while processes of the release before may write it."""
    progress: Mapped[float] = mapped_column(default=0.0)
    stage: Mapped[str | None]
    last_event: Mapped[int] = mapped_column(default=0)
    """Number of the newest event; events are numbered under this row's lock."""
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    retry_of: Mapped[UUID | None]
    traceparent: Mapped[str | None]
    """Of the request that ordered it (W3C Trace Context): the worker's spans join its trace."""

    created_at: Mapped[Created]
    claimed_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]
