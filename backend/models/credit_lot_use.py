from __future__ import annotations

from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, TenantId


class CreditLotUse(Base):
    """What the hold of a task took from a lot: a release puts it back there."""

    __tablename__ = "credit_lot_use"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        CheckConstraint("amount > 0", name="amount"),
    )

    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    lot_id: Mapped[UUID] = mapped_column(ForeignKey("credit_lot.id"), primary_key=True)
    tenant_id: Mapped[TenantId]
    amount: Mapped[int] = mapped_column(BigInteger)
