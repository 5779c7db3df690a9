from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


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


class LinkRequest(BaseModel):
    """What is to be sent; all of it is checked when it has arrived."""

    model_config = ConfigDict(extra="forbid")

    filename: str = Field(max_length=255, examples=["song.mp3"])
    size: int = Field(ge=1, le=10**12, description="Bytes")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Of the file, in hexadecimal")


class LinkPart(BaseModel):
    url: str
    headers: dict[str, str] = Field(description="To be sent with it, to the letter")
    start: int = Field(description="First byte of the file that goes there")
    size: int = Field(description="How many bytes go there; no other number is taken")


class LinkView(BaseModel):
    ticket: str = Field(description="To be shown when everything was sent")
    method: str = Field("PUT", description="Of each request to a link, which needs no token")
    parts: list[LinkPart] = Field(description="A large file goes in several, in any order; each may be sent again")
    expires_in: int = Field(description="Seconds until the links can't be used any more")


class LinkUsed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    ticket: str = Field(max_length=4096)
