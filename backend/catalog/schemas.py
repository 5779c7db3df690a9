from __future__ import annotations

from pydantic import BaseModel, Field


class Model(BaseModel):
    id: str
    title: str
    stems: list[str]
    rate: int = Field(description="Sample rate that the network works at, in Hz; results keep the song's own")
    licence: str
    licence_note: str
    ready: bool = Field(description="Whether a task could start with it now, without a download")
    default: bool = Field(description="Whether a task that names no model gets it now")
    device: str | None = Field(description="Where workers run it, once one has said so")
    how_to_get: str | None = Field(None, description="When not ready: what to do")
