from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, BigInteger, CheckConstraint, ForeignKeyConstraint, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Id, TenantId, one_of


class Step(Base):
    """One operation of a task: what to do, with which model, and what was measured about the result."""

    __tablename__ = "step"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        UniqueConstraint("task_id", "position"),
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        one_of("op", ("separate",)),
        CheckConstraint("price >= 0", name="price"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    task_id: Mapped[UUID]
    position: Mapped[int]
    op: Mapped[str]
    model: Mapped[str]
    options: Mapped[dict[str, Any]] = mapped_column(default=dict)
    price: Mapped[int] = mapped_column(BigInteger)
    receipt: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
