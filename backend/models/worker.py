from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created


class Worker(Base):
    """A worker's heartbeat: the last that was heard of it."""

    __tablename__ = "worker"

    name: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    device: Mapped[str | None]
    warm_model: Mapped[str | None]
    warmup_seconds: Mapped[float | None]
    error: Mapped[str | None]
    """Why it can't work, for instance a model that does not load."""
    started_at: Mapped[Created]
    seen_at: Mapped[Created]
    stopped_at: Mapped[datetime | None]
