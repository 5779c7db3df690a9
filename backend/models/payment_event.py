from __future__ import annotations

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created


class PaymentEvent(Base):
    """A message of a payment provider that was acted upon: sent again, it changes nothing."""

    __tablename__ = "payment_event"
    __table_args__ = (Index(None, "created_at"),)

    provider: Mapped[str] = mapped_column(String(50), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    created_at: Mapped[Created]
