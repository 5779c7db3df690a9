from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId


class CreditAlert(Base):
    """Below how many credits, of all its people together, a tenant wants to hear of it."""

    __tablename__ = "credit_alert"
    __table_args__ = (CheckConstraint("below > 0", name="below"),)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    below: Mapped[int] = mapped_column(BigInteger)
    """Millicredits."""
    told_at: Mapped[datetime | None]
    """Told, and not above it since."""
    created_at: Mapped[Created]
