from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class UploadView(BaseModel):
    id: UUID
    filename: str
    seconds: float = Field(description="Counted by reading every packet, not taken from a header")
    rate: int = Field(description="Hz")
    channels: int
    format: str = Field(description="Container and codec", examples=["mp3/mp3"])
    size: int = Field(description="Bytes")
    sha256: str
    price: float = Field(description="Credits that one separation of it costs")
    created_at: datetime
    warning: str | None = Field(None, description="What seems wrong with the file")
