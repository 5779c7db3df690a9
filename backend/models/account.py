from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, one_of

AccountKind = Literal["available", "held", "issued", "earned"]
SYSTEM_KINDS = ("issued", "earned")


class Account(Base):
    """A balance in millicredits. Each user has `available` and `held`; the house has `issued` and `earned`.

    `issued` is where credits come from, so it alone goes below zero: the sum of all balances is 0.
    """

    __tablename__ = "account"
    __table_args__ = (
        one_of("kind", get_args(AccountKind)),
        CheckConstraint("balance >= 0 OR kind = 'issued'", name="balance"),
        CheckConstraint("(kind IN ('issued', 'earned')) = (user_id IS NULL)", name="owner"),
        CheckConstraint("(user_id IS NULL) = (tenant_id IS NULL)", name="tenant"),
        Index("uq_account_user_kind", "tenant_id", "user_id", "kind", unique=True),
        Index(
            "uq_account_system_kind",
            "kind",
            unique=True,
            sqlite_where=text("user_id IS NULL"),
            postgresql_where=text("user_id IS NULL"),
        ),
    )

    id: Mapped[Id]
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenant.id"))
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    kind: Mapped[str]
    balance: Mapped[int] = mapped_column(BigInteger, default=0)
    created_at: Mapped[Created]
