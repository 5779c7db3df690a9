from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created


class Invitation(Base):
    """A code that lets one person register. Only its hash is kept."""

    __tablename__ = "invitation"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str | None] = mapped_column(String(320))
    """The one address that it is good for; None: any."""
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    used_by: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    created_at: Mapped[Created]
