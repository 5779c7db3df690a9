from __future__ import annotations

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id


class User(Base):
    """A person who logs in. Belongs to tenants through memberships."""

    __tablename__ = "user_account"  # `user` is a reserved word in PostgreSQL

    id: Mapped[Id]
    email: Mapped[str] = mapped_column(String(320), unique=True)
    password_hash: Mapped[str]
    active: Mapped[bool] = mapped_column(default=True)
    created_at: Mapped[Created]
