from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId
from backend.models.task import TaskStatus


class Event(Base):
    """One change of a task's state. Numbered 1, 2, 3, … without gaps; only ever added to."""

    __tablename__ = "event"
    __table_args__ = (ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),)

    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    kind: Mapped[TaskStatus] = mapped_column(String)
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created_at: Mapped[Created]
