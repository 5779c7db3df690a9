from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, EmailStr, Field, StrictBool, StrictInt, StringConstraints

from backend.models.membership import Role
from backend.models.task import TaskStatus
from backend.one_line import ONE_LINE
from backend.task.schemas import Stem
from backend.whole_number import WHOLE

TenantName = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True, pattern=ONE_LINE)]
Days = Annotated[StrictInt, Field(ge=1, le=36_500), WHOLE]


class LimitsInForce(BaseModel):
    """Null is no limit."""

    requests: str = Field(description="How often all its people together may ask")
    concurrent_tasks: int | None = Field(description="How many of its tasks run at once; others wait")
    monthly_seconds: float | None = Field(description="Seconds of audio that may be submitted in a calendar month")
    storage_bytes: int | None


class Used(BaseModel):
    running: int = Field(description="Tasks that run now")
    queued: int = Field(description="Tasks that wait")
    month_seconds: float = Field(description="Seconds of audio that were submitted this calendar month")
    storage_bytes: int = Field(description="Songs and results that are kept")


class TenantView(BaseModel):
    id: UUID
    name: str
    plan: str
    role: Role = Field(description="Yours")
    members: int = Field(description="How many people are in it")
    shares_audio: bool = Field(description="Whether its owners and admins may hear what its members made")
    retention_days: int | None = Field(description="How long it wants songs and results to be kept")
    retention_days_in_force: int | None = Field(description="The shorter of that and the operator's; null: for ever")
    limits: LimitsInForce
    used: Used
    created_at: datetime


class TenantChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"name": "Studio One"}})

    name: TenantName | None = Field(None, description="Null or unsaid: as it is")
    retention_days: Days | None = Field(
        None, description="Songs and results that are older are deleted; null: as long as the operator keeps them"
    )
    shares_audio: StrictBool | None = Field(None, description="For owners only. Null or unsaid: as it is")


class PlaceView(BaseModel):
    tenant_id: UUID
    name: str
    role: Role
    since: datetime
    suspended: bool = Field(description="It can't be entered now")
    current: bool = Field(description="You are in it with this login or key")


class MemberView(BaseModel):
    user_id: UUID
    email: str
    role: Role
    since: datetime


class RoleChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"role": "admin"}})

    role: Role


class Departure(BaseModel):
    user_id: UUID
    cancelled_tasks: int = Field(description="What was under way; its credits came back first")
    credits: float = Field(description="Credits that were left over, and went to an owner")
    credits_to: UUID | None = Field(description="That owner")


class NewInvitation(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"email": "singer@example.com", "role": "member"}}
    )

    email: EmailStr
    role: Literal["admin", "member"]


class InvitationView(BaseModel):
    id: UUID
    email: str
    role: Literal["admin", "member"]
    invited_by: UUID
    created_at: datetime
    expires_at: datetime


class InvitationShown(InvitationView):
    code: str = Field(description="Shown this once: for POST /invitations/accept or POST /register")
    sent: bool = Field(description="Whether a letter with it is on its way")


class InvitationCode(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Joined(BaseModel):
    tenant_id: UUID
    name: str
    role: Role


class TenantTask(BaseModel):
    """What an owner or admin sees of anybody's task."""

    task_id: UUID
    user_id: UUID
    email: str
    status: TaskStatus
    filename: str
    model: str
    duration: float = Field(description="Seconds of audio")
    credits: float = Field(description="Price")
    error_code: str | None
    created_at: datetime
    finished_at: datetime | None
    stems: list[Stem] = Field(description="With links, of your own tasks; of others' where the tenant shares audio")


class TenantSong(BaseModel):
    """What an owner or admin sees of anybody's song."""

    upload_id: UUID
    user_id: UUID
    email: str
    filename: str
    duration: float = Field(description="Seconds")
    size: int = Field(description="Bytes")
    created_at: datetime
