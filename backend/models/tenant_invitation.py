from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId, one_of


class TenantInvitation(Base):
    """A tenant asks somebody in. The code is sent or shown once; only its hash is kept."""

    __tablename__ = "tenant_invitation"
    __table_args__ = (one_of("role", ("admin", "member")), Index(None, "tenant_id", "id"))

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    sha256: Mapped[str] = mapped_column(unique=True)
    email: Mapped[str] = mapped_column(String(320))
    """The one address that it is good for."""
    role: Mapped[str]
    invited_by: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    expires_at: Mapped[datetime]
    accepted_at: Mapped[datetime | None]
    accepted_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    revoked_at: Mapped[datetime | None]
    created_at: Mapped[Created]
