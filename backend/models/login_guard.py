from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base


class LoginGuard(Base):
    """How often guessing went wrong lately, for one account, address or both: `sha256` says for which."""

    __tablename__ = "login_guard"
    __table_args__ = (Index(None, "last_at"),)

    sha256: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int]
    last_at: Mapped[datetime]
    locked_until: Mapped[datetime | None]
