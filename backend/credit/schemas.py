from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class Balance(BaseModel):
    balance: float = Field(description="Credits that can be spent now")
    held: float = Field(description="Credits put aside for tasks under way")
    price: float = Field(description="Credits for each started block of audio")
    block_seconds: int = Field(description="Length of a block of audio")


class Entry(BaseModel):
    id: UUID
    kind: str = Field(description="grant, hold, capture or release", examples=["capture"])
    credits: float
    task_id: UUID | None
    reason: str | None
    created_at: datetime
