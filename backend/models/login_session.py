from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId


class LoginSession(Base):
    """One login, from then until logout: every access token and refresh token names it.

    `generation` numbers the refresh tokens that it gave out; only the newest is good.
    """

    __tablename__ = "login_session"
    __table_args__ = (Index(None, "user_id"), Index(None, "expires_at"))

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    generation: Mapped[int] = mapped_column(default=1)
    rotated_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]
    impersonator_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    """The operator who acts as this person, for a reason that the audit log has."""
    created_at: Mapped[Created]
