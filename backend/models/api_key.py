from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId

Permission = Literal["read", "separate", "admin"]

_GOOD = text("revoked_at IS NULL")


class ApiKey(Base):
    """A program's way in. The key itself is shown once and not kept: `prefix` finds the row, `sha256` proves it."""

    __tablename__ = "api_key"
    __table_args__ = (
        Index("ix_api_key_list", "tenant_id", "user_id", "id", sqlite_where=_GOOD, postgresql_where=_GOOD),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    name: Mapped[str] = mapped_column(String(100))
    prefix: Mapped[str] = mapped_column(unique=True)
    sha256: Mapped[str]
    scopes: Mapped[str]
    """Words with a space between, as OAuth writes them."""
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[Created]
