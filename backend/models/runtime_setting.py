from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created


class RuntimeSetting(Base):
    """A setting that an operator changed while the service runs; it stands above the environment's."""

    __tablename__ = "runtime_setting"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    """As in the settings, with a dot: `credit.price`."""
    value: Mapped[Any] = mapped_column(JSON)
    created_at: Mapped[Created]
