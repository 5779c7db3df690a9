from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of

TransferKind = Literal["grant", "hold", "capture", "release"]

_HOLDS = text("kind = 'hold'")
_SETTLES = text("kind IN ('capture', 'release')")


class Transfer(Base):
    """One entry of the ledger: `amount` leaves one account and enters another. Never changed, never removed.

    A task is held once and settled once, by a capture or by a release: the two unique indexes say so.
    """

    __tablename__ = "transfer"
    __table_args__ = (
        ForeignKeyConstraint(["tenant_id", "task_id"], ["task.tenant_id", "task.id"]),
        one_of("kind", get_args(TransferKind)),
        CheckConstraint("amount > 0", name="amount"),
        CheckConstraint("debit_account_id <> credit_account_id", name="accounts"),
        CheckConstraint("kind = 'grant' OR task_id IS NOT NULL", name="task"),
        Index("uq_transfer_hold", "task_id", unique=True, sqlite_where=_HOLDS, postgresql_where=_HOLDS),
        Index("uq_transfer_settlement", "task_id", unique=True, sqlite_where=_SETTLES, postgresql_where=_SETTLES),
        Index(None, "tenant_id", "user_id", "id"),
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
    reason: Mapped[str | None]
    created_at: Mapped[Created]
