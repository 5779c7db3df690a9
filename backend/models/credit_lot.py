from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId

_LEFT = text("remaining > 0")


class CreditLot(Base):
    """Granted credits that expire: how many of them are not spent yet. Spending takes the soonest to expire first."""

    __tablename__ = "credit_lot"
    __table_args__ = (
        CheckConstraint("remaining >= 0", name="remaining"),
        Index("ix_credit_lot_left", "tenant_id", "user_id", "expires_at", sqlite_where=_LEFT, postgresql_where=_LEFT),
        Index("ix_credit_lot_due", "expires_at", sqlite_where=_LEFT, postgresql_where=_LEFT),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    transfer_id: Mapped[UUID] = mapped_column(ForeignKey("transfer.id"))
    """The grant, or the transfer from a member, that it came with."""
    remaining: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]
    created_at: Mapped[Created]
