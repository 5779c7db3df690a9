from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, Millicredits


class User(Base):
    """A person who logs in. Belongs to tenants through memberships."""

    __tablename__ = "user_account"  # `user` is a reserved word in PostgreSQL

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320), unique=True)
    password_hash: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    email_verified_at: Mapped[datetime | None]
    operator: Mapped[bool] = mapped_column(default=False, server_default="0")
    """Runs the service: may use /admin."""
    erased_at: Mapped[datetime | None]
    """Since then the row stands for nobody: the ledger and the audit log still name its id."""
    welcome_due: Mapped[Millicredits] = mapped_column(default=0, server_default="0")
    """Credits that wait until the address is proven."""
    created_at: Mapped[Created]
