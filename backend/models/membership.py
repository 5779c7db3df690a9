from __future__ import annotations

from typing import Literal, get_args
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId, one_of

Role = Literal["owner", "admin", "member"]


class Membership(Base):
    """A person's place in a tenant."""

    __tablename__ = "membership"
    __table_args__ = (one_of("role", get_args(Role)), Index(None, "user_id"))

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"), primary_key=True)
    role: Mapped[Role] = mapped_column(String)
    created_at: Mapped[Created]
