from __future__ import annotations

from sqlalchemy import CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base


class Pace(Base):
    """How fast a model is here: what its last runs did and took, the latest counting most.

    Beside the tasks, so that telling when a task is done looks at no finished one.
    """

    __tablename__ = "pace"
    __table_args__ = (CheckConstraint("audio_seconds >= 0 AND work_seconds > 0", name="seconds"),)

    model: Mapped[str] = mapped_column(primary_key=True)
    audio_seconds: Mapped[float]
    work_seconds: Mapped[float]
