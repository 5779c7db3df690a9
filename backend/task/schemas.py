from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from backend.models.task import TaskStatus
from backend.task.order import SHORTEST_SECONDS, Order
from backend.webhook.schemas import Url, WebhookSecret
from backend.whole_number import WHOLE
from engine.errors import OutputUnsupported
from engine.formats import BitDepth, Container, make_format
from engine.models.base import HighFrequencies

StemCount = Annotated[StrictInt, Field(ge=1), WHOLE]
StemNames = Annotated[list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=16)]
LONGEST_SECONDS = 1e6


def _one_reason(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Pydantic would tell of each alternative apart, by names that are no field of ours."""
    try:
        return validate(value)
    except ValidationError:
        raise PydanticCustomError("stems_invalid", "give a number of stems, or a list of 1 to 16 names") from None


StemWish = Annotated[StemCount | StemNames | None, WrapValidator(_one_reason)]


class Wish(BaseModel):
    """What may be said about a separation, apart from the song."""

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(max_length=64)] | None = Field(
        None, description="One of GET /api/v1/models; unnamed: the service's choice", examples=["lite"]
    )
    stems: StemWish = Field(
        None,
        description="Into how many stems (2, 4 or 5), or the names of those to keep; unsaid: all that the model "
        "gives. Without `model`, one that gives them is chosen",
        examples=[4, ["vocals"]],
    )
    format: Container = Field("wav", description="Of the files that are made")
    bit_depth: BitDepth | None = Field(None, description="wav: 16 (unsaid), 24 or float; flac: 16 (unsaid) or 24")
    bit_rate: Annotated[StrictInt, WHOLE] | None = Field(
        None, description="kbit/s; mp3, ogg and m4a; unsaid: the format's usual one"
    )
    start: float = Field(
        0.0, ge=0, le=LONGEST_SECONDS, allow_inf_nan=False, description="Where to begin, in seconds into the song"
    )
    duration: float | None = Field(
        None,
        ge=SHORTEST_SECONDS,
        le=LONGEST_SECONDS,
        allow_inf_nan=False,
        description="How many seconds to separate, and to pay for; unsaid, or past the song's end: to its end",
    )
    high_frequencies: HighFrequencies = Field(
        "mixture",
        description="What becomes of the frequencies that the network does not see; with `mixture` the stems sum "
        "to the song",
    )
    gain_db: float = Field(
        0.0, ge=-60, le=24, allow_inf_nan=False, description="Louder or softer, in dB; what then clips is counted"
    )
    webhook: Url | None = Field(
        None,
        description="An https URL that is told when what is ordered here is completed, failed or cancelled; as any "
        "webhook's, its messages are signed and tried again",
        examples=[None, "https://example.com/hooks/songs"],
    )
    webhook_secret: WebhookSecret | None = Field(
        None,
        description="What signs these messages (standardwebhooks.com): `whsec_` and 24 to 64 bytes as Base64. Unsaid: "
        "one is made, and the answer has it",
    )

    @model_validator(mode="after")
    def _secret_of_a_webhook(self) -> Self:
        if self.webhook_secret is not None and self.webhook is None:
            raise ValueError("webhook_secret is for a webhook, and there is none")
        return self

    @field_validator("bit_depth", "bit_rate")
    @classmethod
    def _of_the_format(cls, value: Any, field: ValidationInfo) -> Any:
        container = field.data.get("format")
        if value is not None and container is not None and field.field_name is not None:
            try:
                make_format(container, **{field.field_name: value})
            except OutputUnsupported as error:
                raise PydanticCustomError("output_unsupported", "{why}", {"why": str(error)}) from None
        return value

    def order(self) -> Order:
        return Order(
            model=self.model,
            stems=self.stems,
            format=make_format(self.format, bit_depth=self.bit_depth, bit_rate=self.bit_rate),
            start=self.start,
            duration=self.duration,
            high_frequencies=self.high_frequencies,
            gain_db=self.gain_db,
            webhook=self.webhook,
            webhook_secret=self.webhook_secret,
        )


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
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"upload_ids": ["0198c5d2-7c1a-7d43-9b0e-6a1f0c9e2b11"]}}
    )

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
    webhook_secret: str | None = Field(None, description="Verifies what `webhook` is told; shown this once")


class BatchAccepted(BaseModel):
    task_ids: list[UUID]
    status: TaskStatus
    model: str
    price: float
    webhook_secret: str | None = Field(None, description="Verifies what `webhook` is told; shown this once")


class Stem(BaseModel):
    name: str
    path: str = Field(description="Where the file lies in the service's storage")
    media_type: str
    size: int
    sha256: str
    url: str = Field(description="A link that needs no token, for a while")


class OptionsView(BaseModel):
    """As they were frozen when the task was ordered."""

    stems: list[str] = Field(description="Those that are kept")
    format: Container
    bit_depth: BitDepth | None
    bit_rate: int | None = Field(description="kbit/s")
    start: float = Field(description="Seconds into the song")
    duration: float | None = Field(description="Seconds; null is to the song's end")
    high_frequencies: HighFrequencies
    gain_db: float


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
    duration: float = Field(description="Seconds of audio that are separated")
    options: OptionsView
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


class LogEntry(BaseModel):
    """One change of a task's state."""

    seq: int = Field(description="1, 2, 3, … without gap; `Last-Event-ID` of the server-sent events")
    status: TaskStatus = Field(description="In which it has been since then")
    data: dict[str, Any] = Field(description="What belongs to it: attempt, reason, error_code, stems, …")
    at: datetime
