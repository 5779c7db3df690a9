from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

DeliveryStatus = Literal["pending", "delivered", "failed"]

_PENDING = text("status = 'pending'")
_LEASED = text("lease_until IS NOT NULL")


class WebhookDelivery(Base):
    """One message for one webhook, tried until it arrives or the tries are used up."""

    __tablename__ = "webhook_delivery"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        ForeignKeyConstraint(["tenant_id", "webhook_id"], ["webhook.tenant_id", "webhook.id"], ondelete="CASCADE"),
        one_of("status", get_args(DeliveryStatus)),
        CheckConstraint("(status = 'pending') = (next_at IS NOT NULL)", name="next"),
        CheckConstraint("lease_until IS NULL OR status = 'pending'", name="lease"),
        Index("ix_webhook_delivery_due", "next_at", sqlite_where=_PENDING, postgresql_where=_PENDING),
        Index("ix_webhook_delivery_leased", "tenant_id", sqlite_where=_LEASED, postgresql_where=_LEASED),
        Index("ix_webhook_delivery_log", "tenant_id", "webhook_id", "id"),
        Index("ix_webhook_delivery_log_status", "tenant_id", "webhook_id", "status", "id"),
        Index(None, "created_at"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    webhook_id: Mapped[UUID]
    message_id: Mapped[UUID]
    """The same for every webhook that gets the message, and for every attempt."""
    kind: Mapped[str]
    body: Mapped[str] = mapped_column(Text)
    """As it is signed and sent, to the letter."""
    status: Mapped[DeliveryStatus] = mapped_column(String, default="pending")
    attempt: Mapped[int] = mapped_column(default=0)
    """Counts claims; guards the statement that settles one."""
    tries: Mapped[int] = mapped_column(default=0)
    """Attempts since it was made or last replayed: says how long to wait for the next."""
    next_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    claimed_at: Mapped[datetime | None]
    created_at: Mapped[Created]
    finished_at: Mapped[datetime | None]
