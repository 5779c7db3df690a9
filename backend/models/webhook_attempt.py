from __future__ import annotations

from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId


class WebhookAttempt(Base):
    """What became of one attempt to deliver."""

    __tablename__ = "webhook_attempt"
    __table_args__ = (
        ForeignKeyConstraint(
            ["tenant_id", "delivery_id"], ["webhook_delivery.tenant_id", "webhook_delivery.id"], ondelete="CASCADE"
        ),
    )

    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[TenantId]
    status: Mapped[int | None]
    """Of the receiver's answer, where there was one."""
    milliseconds: Mapped[int]
    error: Mapped[str | None]
    """Why it counts as failed: one of the words in `backend.webhook.outbox`."""
    response: Mapped[str | None] = mapped_column(Text)
    """The first kilobyte of the answer's body."""
    created_at: Mapped[Created]
