from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field


class UploadWarning(BaseModel):
    code: str = Field(examples=["truncated"])
    detail: str


class UploadView(BaseModel):
    id: UUID
    filename: str
    duration: float = Field(description="Seconds, counted by reading every packet, not taken from a header")
    rate: int = Field(description="Hz")
    channels: int
    format: str = Field(description="Container", examples=["mp3"])
    codec: str = Field(examples=["mp3"])
    size: int = Field(description="Bytes")
    sha256: str
    price: float = Field(description="Credits that one separation of it costs")
    created_at: datetime
    warnings: list[UploadWarning] = Field(
        description="What seems wrong with the file; it can be separated all the same"
    )
