from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.auth.schemas import Password


class PersonErasure(BaseModel):
    model_config = ConfigDict(extra="forbid")

    password: Password = Field(description="Yours, again: this can't be undone")


class TenantErasure(PersonErasure):
    name: Annotated[str, StringConstraints(min_length=1, max_length=400)] = Field(description="Of the tenant, typed")


class ReceiptCheck(BaseModel):
    model_config = ConfigDict(extra="forbid")

    receipt: Annotated[str, StringConstraints(min_length=1)] = Field(description="As it was given")


class Subject(BaseModel):
    kind: Literal["tenant", "person"]
    id: UUID


class By(BaseModel):
    kind: str = Field(description="user; or operator, or command: of the service")
    id: UUID | None


class Staying(BaseModel):
    what: str
    why: str


class ErasureContent(BaseModel):
    """What went, and what stays."""

    subject: Subject
    by: By
    at: datetime
    tenants: list[UUID] = Field(description="That are gone with everything in them")
    people: list[UUID] = Field(description="Who can't log in any more; one who is in another tenant too, can")
    task_ids: list[UUID]
    upload_ids: list[UUID]
    bytes: int = Field(description="Of songs and results that were still kept")
    credits: float = Field(description="That were left and expired")
    counts: dict[str, int] = Field(description="Rows that went or lost their words, by kind")
    files_removed: bool = Field(description="False: some could not be removed at once; the service tries again")
    stays: list[Staying]


class ErasureReceipt(ErasureContent):
    receipt: str = Field(description="All this, signed: POST /erasures/verify checks it. It is shown once")
