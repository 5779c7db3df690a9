from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

TransferKind = Literal["grant", "purchase", "hold", "capture", "release", "refund", "transfer", "expiry", "chargeback"]

_HOLDS = text("kind = 'hold'")
_SETTLES = text("kind IN ('capture', 'release')")
_REFUNDS = text("kind = 'refund'")
_BUYS = text("kind = 'purchase'")
_TO_MEMBER = text("to_user_id IS NOT NULL")


class Transfer(Base):
    """One entry of the ledger: `amount` leaves one account and enters another. Never changed, never removed.

    A task is held once and settled once, by a capture or by a release, and given back once at most; a purchase is
    paid once: the unique indexes say so. It may be charged back in parts, and from several members.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        one_of("kind", get_args(TransferKind)),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("debit_account_id <> credit_account_id", name="accounts"),
        ForeignKeyConstraint(["tenant_id", "purchase_id"], ["purchase.tenant_id", "purchase.id"]),
        CheckConstraint("(kind IN ('hold', 'capture', 'release', 'refund')) = (task_id IS NOT NULL)", name="task"),
        CheckConstraint("(kind IN ('purchase', 'chargeback')) = (purchase_id IS NOT NULL)", name="purchase"),
        CheckConstraint("(kind = 'transfer') = (to_user_id IS NOT NULL)", name="to_user"),
        Index("uq_transfer_hold", "task_id", unique=True, sqlite_where=_HOLDS, postgresql_where=_HOLDS),
        Index("uq_transfer_settlement", "task_id", unique=True, sqlite_where=_SETTLES, postgresql_where=_SETTLES),
        Index("uq_transfer_refund", "task_id", unique=True, sqlite_where=_REFUNDS, postgresql_where=_REFUNDS),
        Index("uq_transfer_purchase", "purchase_id", unique=True, sqlite_where=_BUYS, postgresql_where=_BUYS),
        Index(None, "tenant_id", "user_id", "id"),
        Index(
            "ix_transfer_received",
            "tenant_id",
            "to_user_id",
            "id",
            sqlite_where=_TO_MEMBER,
            postgresql_where=_TO_MEMBER,
        ),
        Index(None, "debit_account_id"),
        Index(None, "credit_account_id"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    debit_account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"))
    credit_account_id: Mapped[UUID] = mapped_column(ForeignKey("account.id"))
    amount: Mapped[int] = mapped_column(BigInteger)
    kind: Mapped[str]
    task_id: Mapped[UUID | None]
    purchase_id: Mapped[UUID | None]
    to_user_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    """Of a transfer between two members: who got it; `user_id` gave it."""
    reason: Mapped[str | None]
    created_at: Mapped[Created]
