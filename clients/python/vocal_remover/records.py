"""What the service tells, as values. Fields that a later service adds are left out, not refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, TypedDict, TypeVar

from vocal_remover.errors import Unreadable

Record = TypeVar("Record")

FINISHED = ("completed", "failed", "cancelled")

Json = Mapping[str, Any]


class Wishes(TypedDict, total=False):
    """How to separate; what is left out is the service's choice. GET /docs says what each may be."""

    model: str | None
    stems: int | list[str] | None
    format: Literal["wav", "flac", "mp3", "ogg", "m4a"]
    bit_depth: int | Literal["float"] | None
    bit_rate: int | None
    start: float
    duration: float | None
    high_frequencies: Literal["zeros", "average", "mixture"]
    gain_db: float
    webhook: str | None
    """An https URL that is told when the task ends; `Ordered.webhook_secret` verifies its messages."""
    webhook_secret: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far it is. `status` is uploading, queued, processing, downloading, or how the task ended."""

    status: str
    progress: float
    """0 to 1, of what `status` says."""
    stage: str | None = None
    queue_position: int | None = None

    @classmethod
    def of(cls, body: Json) -> Self:
        status = str(body["status"])
        done = 1.0 if status == "completed" else float(body.get("progress") or 0.0)
        return cls(status, done, body.get("stage"), body.get("queue_position"))


Listener = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class Upload:
    id: str
    filename: str
    duration: float
    """Seconds, counted."""
    rate: int
    """Hz."""
    channels: int
    format: str
    size: int
    """Bytes."""
    sha256: str
    price: float
    """Credits that one separation of it costs."""
    warnings: tuple[str, ...]

    @classmethod
    def of(cls, body: Json) -> Self:
        return cls(
            id=str(body["id"]),
            filename=body["filename"],
            duration=body["duration"],
            rate=body["rate"],
            channels=body["channels"],
            format=body["format"],
            size=body["size"],
            sha256=body["sha256"],
            price=body["price"],
            warnings=tuple(warning["detail"] for warning in body.get("warnings", ())),
        )


@dataclass(frozen=True, slots=True)
class Ordered:
    """A task that was accepted."""

    id: str
    status: str
    model: str
    price: float
    """Credits put aside."""
    webhook_secret: str | None
    """Verifies what the order's webhook is told (standardwebhooks.com)."""

    @classmethod
    def of(cls, body: Json) -> Self:
        return cls(str(body["task_id"]), body["status"], body["model"], body["price"], body.get("webhook_secret"))


@dataclass(frozen=True, slots=True)
class Stem:
    name: str
    media_type: str
    size: int
    sha256: str
    url: str
    """A signed link below the service's address; it needs no key, for a while."""
    path: str
    """Where the file lies in the service's storage."""

    @classmethod
    def of(cls, body: Json) -> Self:
        return cls(body["name"], body["media_type"], body["size"], body["sha256"], body["url"], body["path"])


@dataclass(frozen=True, slots=True)
class Task:
    id: str
    status: str
    model: str
    filename: str
    duration: float
    """Seconds of audio that are separated."""
    credits: float
    """Its price: held while it is under way, taken only when it completes."""
    created_at: datetime
    finished_at: datetime | None
    error_code: str | None
    stems: tuple[Stem, ...]
    # Below: what a list of tasks does not tell.
    error_message: str | None
    progress: float
    stage: str | None
    queue_position: int | None
    eta: float | None
    """Seconds until it is probably done."""
    receipt: Json | None
    """What was measured about the result."""

    @classmethod
    def of(cls, body: Json) -> Self:
        return cls(
            id=str(body["task_id"]),
            status=body["status"],
            model=body["model"],
            filename=body["filename"],
            duration=body["duration"],
            credits=body["credits"],
            created_at=datetime.fromisoformat(body["created_at"]),
            finished_at=None if body["finished_at"] is None else datetime.fromisoformat(body["finished_at"]),
            error_code=body["error_code"],
            stems=tuple(Stem.of(stem) for stem in body["stems"]),
            error_message=body.get("error_message"),
            progress=Progress.of(body).progress,
            stage=body.get("stage"),
            queue_position=body.get("queue_position"),
            eta=body.get("eta"),
            receipt=body.get("receipt"),
        )

    @property
    def finished(self) -> bool:
        return self.status in FINISHED


@dataclass(frozen=True, slots=True)
class Credits:
    balance: float
    """What can be spent now."""
    held: float
    """Put aside for tasks under way."""
    price: float
    """For each started block of audio."""
    block_seconds: int

    @classmethod
    def of(cls, body: Json) -> Self:
        return cls(body["balance"], body["held"], body["price"], body["block_seconds"])


@dataclass(frozen=True, slots=True)
class Result:
    task: Task
    folder: Path
    stems: Mapping[str, Path]
    """Each stem's file, by its name."""


def read(make: Callable[[Any], Record], body: object) -> Record:
    """Raises Unreadable: what answered is no such service, or one that broke its promises."""
    try:
        return make(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"The answer is not one of this service's: {error!r}.") from error
