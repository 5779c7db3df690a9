from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import JSON, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId


class Webhook(Base):
    """Where a tenant wants to be told of events."""

    __tablename__ = "webhook"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        Index("uq_webhook_task", "tenant_id", "task_id", unique=True),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    task_id: Mapped[UUID | None]
    """It hears of this one task; None: of the tenant's. NULLs are no duplicates, so the index finds both kinds."""
    url: Mapped[str] = mapped_column(String(2000))
    description: Mapped[str] = mapped_column(String(200), default="")
    events: Mapped[list[str]] = mapped_column(JSON)
    secret: Mapped[str]
    """Signs, so it is kept as it is: a hash could not sign."""
    previous_secret: Mapped[str | None]
    previous_until: Mapped[datetime | None]
    """Until then both secrets sign."""
    failing_since: Mapped[datetime | None]
    """First failure since the last success."""
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None]
    created_at: Mapped[Created]
