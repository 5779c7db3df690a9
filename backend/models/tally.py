from __future__ import annotations

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base


class Tally(Base):
    """One bucket of a histogram of completed tasks. It only ever grows, whatever becomes of the tasks' rows."""

    __tablename__ = "tally"

    name: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    at_most: Mapped[str] = mapped_column(primary_key=True)
    """Upper bound, as Prometheus writes it: `0.5`, `+Inf`."""
    number: Mapped[int] = mapped_column(BigInteger)
    """Tasks in this bucket alone."""
    total: Mapped[float]
    """The sum of what was observed of them."""
