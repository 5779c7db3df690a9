from __future__ import annotations

from sqlalchemy.orm import Mapped

from backend.models.base import Base, Created, Id


class Tenant(Base):
    """A customer: owns people's memberships, uploads, tasks and credits."""

    __tablename__ = "tenant"

    id: Mapped[Id]
    name: Mapped[str]
    created_at: Mapped[Created]
