from __future__ import annotations

from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

PurchaseStatus = Literal["open", "paid", "refunded", "failed"]

_OWING = text("shortfall > 0")


class Purchase(Base):
    """Somebody buys a pack of credits; a payment provider says when it is paid, or paid back."""

    __tablename__ = "purchase"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        one_of("status", get_args(PurchaseStatus)),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("price_minor >= 0", name="price_minor"),
        CheckConstraint("refunded_minor >= 0 AND refunded_minor <= price_minor", name="refunded_minor"),
        CheckConstraint("returned >= 0 AND returned <= amount", name="returned"),
        CheckConstraint("shortfall >= 0 AND shortfall <= amount", name="shortfall"),
        Index(None, "tenant_id", "user_id", "id"),
        Index("ix_purchase_owing", "tenant_id", "id", sqlite_where=_OWING, postgresql_where=_OWING),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    pack: Mapped[str] = mapped_column(String(100))
    amount: Mapped[int] = mapped_column(BigInteger)
    """Millicredits, frozen when it was ordered."""
    price_minor: Mapped[int] = mapped_column(BigInteger)
    """In the currency's smallest unit, such as cents."""
    currency: Mapped[str] = mapped_column(String(3))
    provider: Mapped[str] = mapped_column(String(50))
    status: Mapped[PurchaseStatus] = mapped_column(String, default="open")
    refunded_minor: Mapped[int] = mapped_column(BigInteger, default=0)
    """What of the price was paid back, in one message or in several."""
    returned: Mapped[int] = mapped_column(BigInteger, default=0)
    """Millicredits that were to be taken back for it."""
    shortfall: Mapped[int] = mapped_column(BigInteger, default=0)
    """What of `returned` is missing: it was spent before, and the tenant has got nothing since."""
    settled_at: Mapped[datetime | None]
    created_at: Mapped[Created]
