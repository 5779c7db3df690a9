from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId


class Ticket(Base):
    """A one-use pass for a client that can't send headers. Only its hash is kept."""

    __tablename__ = "ticket"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        Index(None, "expires_at"),
    )

    sha256: Mapped[str] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    task_id: Mapped[UUID]
    expires_at: Mapped[datetime]
    created_at: Mapped[Created]
