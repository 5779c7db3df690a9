from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id


class Tenant(Base):
    """A customer: owns people's memberships, uploads, tasks and credits."""

    __tablename__ = "tenant"

    id: Mapped[Id]
    name: Mapped[str]
    plan: Mapped[str] = mapped_column(default="standard", server_default="standard")
    """Says how many turns it has in a round of the queue: `VR_QUEUE__PLANS`."""
    retention_days: Mapped[int | None]
    """How long its owner wants songs and results to be kept; the operator's limit may be shorter."""
    shares_audio: Mapped[bool] = mapped_column(default=False, server_default="0")
    """Whether its admins may hear what its members made."""
    suspended_at: Mapped[datetime | None]
    suspended_reason: Mapped[str | None] = mapped_column(String(500))
    erased_at: Mapped[datetime | None]
    created_at: Mapped[Created]
