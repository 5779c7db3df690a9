from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId


class TenantLimit(Base):
    """What the operator allows a tenant. No row, or None in it: as the settings say."""

    __tablename__ = "tenant_limit"
    __table_args__ = (
        CheckConstraint("concurrent_tasks > 0", name="concurrent_tasks"),
        CheckConstraint("monthly_seconds >= 0", name="monthly_seconds"),
        CheckConstraint("storage_bytes >= 0", name="storage_bytes"),
        CheckConstraint("retention_days > 0", name="retention_days"),
    )

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    requests: Mapped[str | None] = mapped_column(String(100))
    """How often its people together may ask, like `3000 per minute`."""
    concurrent_tasks: Mapped[int | None]
    """How many of its tasks run at once; the others wait."""
    monthly_seconds: Mapped[float | None]
    """Seconds of audio that it may submit in a calendar month."""
    storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    retention_days: Mapped[int | None]
    created_at: Mapped[Created]
