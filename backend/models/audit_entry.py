from __future__ import annotations

from typing import Any, Literal, get_args
from uuid import UUID

from sqlalchemy import JSON, ForeignKey, Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from backend.models.base import Base, Created, Id, one_of

_KNOWN = text("address IS NOT NULL")

ActorKind = Literal["user", "operator", "command", "service"]


class AuditEntry(Base):
    """Who did what, written in the transaction that did it. Never changed, never removed.

    It names people by their ids, so that erasing a person leaves it true and says nothing of them. The one
    thing that may be forgotten is the address: the trigger lets it become NULL.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        one_of("actor_kind", get_args(ActorKind)),
        Index(None, "tenant_id", "id"),
        Index(None, "actor_id", "id"),
        Index("ix_audit_entry_address", "created_at", sqlite_where=_KNOWN, postgresql_where=_KNOWN),
    )

    id: Mapped[Id]
    tenant_id: Mapped[UUID | None] = mapped_column(ForeignKey("tenant.id"))
    """Whose matter it was; None: the whole service's."""
    actor_kind: Mapped[str]
    """A person over the API, an operator there, one at the command line, or the service by itself. Said when it is
    written: who is an operator later, or not any more, changes nothing of what they did."""
    actor_id: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    acting_as: Mapped[UUID | None] = mapped_column(ForeignKey("user_account.id"))
    """Whom an operator impersonated."""
    key_id: Mapped[UUID | None]
    action: Mapped[str] = mapped_column(String(64))
    """`member.removed`, `credits.granted`, …"""
    target: Mapped[str | None] = mapped_column(String(100))
    """The id of what it was done to."""
    before: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    after: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    reason: Mapped[str | None] = mapped_column(String(500))
    address: Mapped[str | None] = mapped_column(String(64))
    request_id: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[Created]
