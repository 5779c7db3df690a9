from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

PartStatus = Literal["queued", "processing", "completed"]

_WANTED = text("status <> 'completed'")


class Part(Base):
    """A range of a long song's patches, separated by whichever worker takes it; gone when its task ends.

    Its lease is its own: a lost range is redone alone, from its last patch that was kept.
    """

    __tablename__ = "part"
    __table_args__ = (
        UniqueConstraint("step_id", "position"),
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        ForeignKeyConstraint(["tenant_id", "step_id"], ["step.tenant_id", "step.id"]),
        one_of("status", get_args(PartStatus)),
        CheckConstraint("(status = 'processing') = (lease_until IS NOT NULL)", name="lease"),
        CheckConstraint("first_patch >= 0 AND (patches IS NULL OR patches > 0)", name="range"),
        CheckConstraint("patches_done >= 0", name="done"),
        Index(None, "tenant_id", "task_id"),
        Index("ix_part_wanted", "status", sqlite_where=_WANTED, postgresql_where=_WANTED),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    task_id: Mapped[UUID]
    step_id: Mapped[UUID]
    position: Mapped[int]
    """0, 1, 2, … within the step."""
    first_patch: Mapped[int]
    patches: Mapped[int | None]
    """None: to the song's end."""
    fingerprint: Mapped[str]
    """Of model, weights, runtime, precision, threads and batch: only workers that share it give the same bits."""
    status: Mapped[PartStatus] = mapped_column(String, default="queued")
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    patches_done: Mapped[int] = mapped_column(default=0)
    """How many of its patches are kept; written after they were."""
    worker: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[Created]
