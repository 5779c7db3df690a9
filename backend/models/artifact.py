from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of


class Artifact(Base):
    """A file that a step made: a stem, or the receipt beside the stems."""

    __tablename__ = "artifact"
    __table_args__ = (
        UniqueConstraint("task_id", "name"),
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        ForeignKeyConstraint(["tenant_id", "step_id"], ["step.tenant_id", "step.id"]),
        one_of("kind", ("stem", "receipt")),
        CheckConstraint("size > 0", name="size"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    task_id: Mapped[UUID]
    step_id: Mapped[UUID]
    attempt: Mapped[int]
    kind: Mapped[str]
    name: Mapped[str]
    """`vocals`, `accompaniment`, …, or `receipt`."""
    storage_key: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[Created]
