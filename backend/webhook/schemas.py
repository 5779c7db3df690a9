from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints

from backend.models.webhook_delivery import DeliveryStatus
from backend.one_line import ONE_LINE
from backend.webhook.service import EVENTS, EventKind

Url = Annotated[str, StringConstraints(min_length=1, max_length=2000, pattern=r"^[!-~]+$")]
WebhookSecret = Annotated[
    str,
    StringConstraints(
        pattern=r"^whsec_(?:[A-Za-z0-9+/]{4}){8,21}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    ),
]
Description = Annotated[str, StringConstraints(max_length=200, pattern=ONE_LINE)]
Events = Annotated[list[EventKind], Field(min_length=1, max_length=len(EVENTS))]


class WebhookOrder(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"url": "https://example.com/hooks/songs", "events": ["task.completed"]}},
    )

    url: Url = Field(description="https, and reachable from the Internet")
    events: Events = Field(list(EVENTS), description="Which to be told of; unsaid: all")
    description: Description = Field("", description="For people")


class WebhookChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"enabled": True}})

    url: Url | None = Field(None, description="Unsaid: as it is")
    events: Events | None = Field(None, description="Unsaid: as they are")
    description: Description | None = Field(None, description="Unsaid: as it is")
    enabled: StrictBool | None = Field(None, description="true also sends what has waited; unsaid: as it is")


class WebhookView(BaseModel):
    id: UUID
    task_id: UUID | None = Field(description="Of the one task that it hears of; null: of all of the tenant's")
    url: str
    events: list[str]
    description: str
    enabled: bool
    notice: str | None = Field(description="Set when the webhook needs you: why it was switched off, and what to do")
    failing_since: datetime | None = Field(description="First failure since the last success")
    created_at: datetime


class NewWebhook(WebhookView):
    secret: str = Field(description="Shown this once; verifies signatures (standardwebhooks.com)")


class NewSecret(BaseModel):
    secret: str = Field(description="Shown this once")
    previous_until: datetime = Field(description="Until then every message also has a signature of the old secret")


class DeliveryView(BaseModel):
    id: UUID
    message_id: str = Field(description="The header webhook-id: the same for every attempt")
    event: str = Field(examples=["task.completed"])
    status: DeliveryStatus
    attempts: int = Field(description="Attempts so far")
    next_at: datetime | None = Field(description="When it is tried next")
    created_at: datetime
    finished_at: datetime | None


class AttemptView(BaseModel):
    number: int
    at: datetime
    status: int | None = Field(description="HTTP status of the answer; null without one")
    milliseconds: int
    error: str | None = Field(
        description="Why it counts as failed: address_refused, name_unknown, connect_failed, tls_failed, timeout, "
        "broken_answer, redirect_refused or status_not_2xx; null when it arrived"
    )
    response: str | None = Field(description="The first kilobyte of the answer's body")


class DeliveryRecord(DeliveryView):
    payload: dict[str, Any] = Field(description="What is sent")
    log: list[AttemptView]


class CreditsLow(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"below": 5}})

    below: Annotated[float, Field(ge=0.001, le=1e9, allow_inf_nan=False)] | None = Field(
        description="When the credits of all your people together fall below it, credits.low is sent; null: never"
    )
