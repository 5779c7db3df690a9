from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from backend.credit.history import change
from backend.credit.service import shown
from backend.models import Transfer
from backend.tenant.scope import Scope


class Expiring(BaseModel):
    credits: float
    expires_at: datetime


class Balance(BaseModel):
    balance: float = Field(description="Credits that can be spent now")
    held: float = Field(description="Credits put aside for tasks under way")
    price: float = Field(description="Credits for each started block of audio")
    block_seconds: int = Field(description="Length of a block of audio")
    expiring: list[Expiring] = Field(
        description="Parts of the balance that expire, the soonest first; they are spent first"
    )


class Entry(BaseModel):
    id: UUID
    kind: str = Field(
        description="grant, purchase, hold, capture, release, refund, transfer, expiry or chargeback",
        examples=["capture"],
    )
    credits: float
    change: float = Field(
        description="What it did to the credits that can be spent: above 0 they grew, below 0 they shrank. A capture "
        "takes what a hold had put aside, and changes nothing."
    )
    task_id: UUID | None
    purchase_id: UUID | None
    member_id: UUID | None = Field(description="Of a transfer: who gave it, or got it")
    reason: str | None
    created_at: datetime


class NewTransfer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    to_user_id: UUID = Field(description="A member of your tenant")
    credits: float = Field(ge=0.001, le=1e6, multiple_of=0.001, strict=True)
    reason: str | None = Field(None, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")


def entry_view(entry: Transfer, scope: Scope, available: UUID) -> Entry:
    """As this person sees it, whose account `available` is."""
    received = entry.to_user_id == scope.user_id
    return Entry(
        id=entry.id,
        kind=entry.kind,
        credits=shown(entry.amount),
        change=shown(change(entry, available)),
        task_id=entry.task_id,
        purchase_id=entry.purchase_id,
        member_id=entry.user_id if received else entry.to_user_id,
        reason=entry.reason,
        created_at=entry.created_at,
    )
