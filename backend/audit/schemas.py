from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from backend.models import AuditEntry


class Entry(BaseModel):
    id: UUID
    at: datetime
    action: str = Field(examples=["member.removed"])
    by: Literal["user", "operator", "command", "service"] = Field(
        description="A person, an operator of the service, its command line, or the service by itself"
    )
    actor_id: UUID | None
    acting_as: UUID | None = Field(description="Whom an operator impersonated")
    key_id: UUID | None = Field(description="The API key that it was done with")
    target: str | None = Field(description="The id of what it was done to")
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    address: str | None = Field(description="Forgotten after a while")
    request_id: str | None


class OperatorEntry(Entry):
    tenant_id: UUID | None = Field(description="Whose matter it was; null: the whole service's")


def view(row: AuditEntry) -> Entry:
    """As its tenant sees it: where an operator sits is not their business."""
    entry = operator_view(row).model_dump(exclude={"tenant_id"})
    return Entry.model_validate(entry | ({"address": None} if row.actor_kind == "operator" else {}))


def operator_view(row: AuditEntry) -> OperatorEntry:
    return OperatorEntry.model_validate(
        {
            "id": row.id,
            "tenant_id": row.tenant_id,
            "at": row.created_at,
            "action": row.action,
            "by": row.actor_kind,
            "actor_id": row.actor_id,
            "acting_as": row.acting_as,
            "key_id": row.key_id,
            "target": row.target,
            "before": row.before,
            "after": row.after,
            "reason": row.reason,
            "address": row.address,
            "request_id": row.request_id,
        }
    )
