from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id


class Tenant(Base):
    """A customer: owns people's memberships, uploads, tasks and credits."""

    __tablename__ = "tenant"

    id: Mapped[Id]
    name: Mapped[str]
    plan: Mapped[str] = mapped_column(default="standard", server_default="standard")
    """Says how many turns it has in a round of the queue: `VR_QUEUE__PLANS`."""
    created_at: Mapped[Created]
