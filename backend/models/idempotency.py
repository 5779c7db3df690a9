from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, TenantId


class Idempotency(Base):
    """The answer that was given under a user's Idempotency-Key in a tenant, to give it again."""

    __tablename__ = "idempotency"
    __table_args__ = (Index(None, "created_at"),)

    tenant_id: Mapped[TenantId] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str]
    answer: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[Created]
