from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, TenantId

# As SQLAlchemy writes `sample.is_(False)`: SQLite's planner knows an index for a query by its very words.
_KEPT_SQLITE = text("deleted_at IS NULL AND sample IS 0")
_KEPT_POSTGRESQL = text("deleted_at IS NULL AND sample IS false")
_KEPT_SAMPLE = text("sample AND deleted_at IS NULL")


class Upload(Base):
    """A song that somebody sent, probed and stored."""

    __tablename__ = "upload"
    __table_args__ = (
        UniqueConstraint("tenant_id", "id"),
        Index(None, "tenant_id", "user_id", "filename"),
        Index(
            "ix_upload_list",
            "tenant_id",
            "user_id",
            "id",
            sqlite_where=_KEPT_SQLITE,
            postgresql_where=_KEPT_POSTGRESQL,
        ),
        Index(
            "uq_upload_sample",
            "tenant_id",
            "user_id",
            "filename",
            unique=True,
            sqlite_where=_KEPT_SAMPLE,
            postgresql_where=_KEPT_SAMPLE,
        ),
        Index(
            "ix_upload_content",
            "tenant_id",
            "sha256",
            "size",
            sqlite_where=_KEPT_SQLITE,
            postgresql_where=_KEPT_POSTGRESQL,
        ),
        Index("ix_upload_file", "storage_key", sqlite_where=_KEPT_SQLITE, postgresql_where=_KEPT_POSTGRESQL),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("seconds > 0", name="seconds"),
    )

    id: Mapped[Id]
    tenant_id: Mapped[TenantId]
    user_id: Mapped[UUID] = mapped_column(ForeignKey("user_account.id"))
    filename: Mapped[str]
    """The sender's name for it: shown and matched, never part of a path as it stands."""
    storage_key: Mapped[str]
    """Of its file, which songs of the same content in the tenant share: named for the first of them."""
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    container: Mapped[str]
    codec: Mapped[str]
    rate: Mapped[int]
    channels: Mapped[int]
    seconds: Mapped[float]
    """Counted by demuxing every packet; the price and the decoder's cap come from it."""
    declared_seconds: Mapped[float | None]
    sample: Mapped[bool] = mapped_column(default=False)
    """A song of the sample library: its file is everybody's, this row is the user's."""
    created_at: Mapped[Created]
    deleted_at: Mapped[datetime | None]
