from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from backend.models.task import TaskStatus
from engine.models.base import HighFrequencies


class Wish(BaseModel):
    """What may be said about a separation, apart from the song."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="One of GET /api/v1/models; unnamed: the service's choice", examples=["lite"]
    )
    high_frequencies: HighFrequencies = Field(
        "mixture",
        description="What becomes of the frequencies that the network does not see; with `mixture` the stems sum "
        "to the song",
    )

    def options(self) -> dict[str, Any]:
        return {"high_frequencies": self.high_frequencies}


class Separation(Wish):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"filename": "example.mp3"}})

    filename: Annotated[str, Field(min_length=1, max_length=1024)] | None = Field(
        None, description="A song of the sample library, or one of your uploads (the newest of that name)"
    )
    upload_id: UUID | None = Field(None, description="One of your uploads")

    @model_validator(mode="after")
    def _one_song(self) -> Self:
        if (self.filename is None) == (self.upload_id is None):
            raise ValueError("give either filename or upload_id")
        return self


class Batch(Wish):
    upload_ids: Annotated[list[UUID], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _different_songs(self) -> Self:
        if len(set(self.upload_ids)) != len(self.upload_ids):
            raise ValueError("upload_ids names a song twice")
        return self


class Accepted(BaseModel):
    task_id: UUID
    status: TaskStatus
    model: str
    price: float = Field(description="Credits put aside; taken when the task completes, given back otherwise")


class BatchAccepted(BaseModel):
    task_ids: list[UUID]
    status: TaskStatus
    model: str
    price: float


class Stem(BaseModel):
    name: str
    path: str = Field(description="Where the file lies in the service's storage")
    media_type: str
    size: int
    sha256: str
    url: str = Field(description="A link that needs no token, for a while")


class TaskView(BaseModel):
    task_id: UUID
    status: TaskStatus
    progress: float = Field(description="0 to 1")
    stage: str | None
    queue_position: int | None = Field(description="How many tasks are before it; 0 is next")
    eta: float | None = Field(description="Seconds until it is probably done")
    attempt: int
    error_code: str | None
    error_message: str | None
    credits: float = Field(description="Price: held while it is under way, taken only when it completes")
    model: str
    filename: str
    upload_id: UUID
    duration: float = Field(description="Seconds of audio")
    retry_of: UUID | None
    created_at: datetime
    finished_at: datetime | None
    receipt: dict[str, Any] | None = Field(description="What was measured about the result")
    stems: list[Stem]
    archive_url: str | None


class HistoryRow(BaseModel):
    task_id: UUID
    status: TaskStatus
    original_file_path: str
    vocal_path: str | None
    music_path: str | None
    filename: str
    model: str
    duration: float
    credits: float
    created_at: datetime
    finished_at: datetime | None
    error_code: str | None
    stems: list[Stem]
