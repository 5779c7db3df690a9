from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StringConstraints

from backend.clock import Moment
from backend.settings.usage import MOST_MILLICREDITS
from backend.whole_number import WHOLE

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True, pattern=r"^[^\x00]*$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]

MOST_CREDITS = MOST_MILLICREDITS // 1_000
LARGEST = 2**53
"""As far as every JSON reader counts."""


class TenantRow(BaseModel):
    id: UUID
    name: str
    plan: str
    suspended_at: datetime | None
    suspended_reason: str | None
    erased_at: datetime | None
    created_at: datetime


class MemberRow(BaseModel):
    user_id: UUID
    email: str
    role: str
    active: bool
    since: datetime


class LimitValues(BaseModel):
    """None: as the settings say, or, of what is in force, no limit."""

    requests: str | None
    concurrent_tasks: int | None
    monthly_seconds: float | None
    storage_bytes: int | None
    retention_days: int | None


class UsedValues(BaseModel):
    running: int
    queued: int
    month_seconds: float = Field(description="Seconds of audio that were ordered this month")
    stored_bytes: int


class TenantDetail(TenantRow):
    members: list[MemberRow]
    limits: LimitValues = Field(description="What an operator has set")
    in_force: LimitValues
    used: UsedValues
    credits: float = Field(description="What its people can spend, together")
    held: float
    shortfall: float = Field(description="Spent before their payment was taken back; taken from later credits")
    tasks: dict[str, int] = Field(description="How many there are, by status")


class LimitChange(BaseModel):
    """What is left out stays; null gives the limit back to the settings."""

    model_config = ConfigDict(extra="forbid")

    requests: Text | None = Field(None, description="Of all its people together, like `3000 per minute`")
    concurrent_tasks: Annotated[StrictInt, Field(ge=1, le=100_000), WHOLE] | None = None
    monthly_seconds: Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False, strict=True)] | None = None
    storage_bytes: Annotated[StrictInt, Field(ge=0, le=LARGEST), WHOLE] | None = None
    retention_days: Annotated[StrictInt, Field(ge=1, le=100_000), WHOLE] | None = None


class TenantChange(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"plan": "priority", "limits": {"concurrent_tasks": 4}}}
    )

    plan: Text | None = Field(None, description="One of the setting queue.plans")
    limits: LimitChange | None = None


class Because(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "asked for it by mail"}})

    reason: Reason = Field(description="Kept in the audit log: name nobody in it")


class EraseOrder(Because):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "The choir", "reason": "asked for it by mail"}}
    )

    name: Annotated[str, StringConstraints(min_length=1, max_length=400)] = Field(description="Of the tenant, typed")


class UserRow(BaseModel):
    id: UUID
    email: str
    active: bool
    operator: bool
    email_verified: bool
    erased_at: datetime | None
    created_at: datetime


class PlaceRow(BaseModel):
    tenant_id: UUID
    name: str
    role: str
    suspended: bool


class UserDetail(UserRow):
    tenants: list[PlaceRow] = Field(description="The one that a login enters is first")
    keys: int = Field(description="API keys that are not revoked")
    last_login: datetime | None = Field(description="Of the logins that are kept")


class LogoutOrder(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keys: StrictBool = Field(False, description="Revoke every API key as well")


class OperatorChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"on": True}})

    on: StrictBool


class GrantOrder(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"credits": 10, "reason": "a present"}})

    credits: float = Field(ge=0.001, le=MOST_CREDITS, allow_inf_nan=False, strict=True)
    reason: Reason = Field(description="The person sees it in their ledger")
    tenant_id: UUID | None = Field(None, description="One of the person's tenants; the first unless named")
    expires_at: Moment | None = Field(None, description="When what is left of them goes; without it, never")


class Refunded(BaseModel):
    credits: float


class ImpersonationOrder(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "asked us to look at a failed task", "minutes": 15}}
    )

    reason: Annotated[Reason, StringConstraints(min_length=5)] = Field(
        description="The person's tenant reads it in its audit log"
    )
    tenant_id: UUID | None = Field(None, description="One of the person's tenants; the first unless named")
    minutes: Annotated[StrictInt, Field(ge=1, le=60), WHOLE] = Field(
        15, description="How long at most; POST /logout ends it before"
    )


class ImpersonationToken(BaseModel):
    access_token: str
    token_type: str = "bearer"
    expires_in: int = Field(description="Seconds until it ends; there is no refresh token")


class WorkerRow(BaseModel):
    name: str
    host: str
    ok: bool
    model: str | None
    device: str | None
    reason: str | None


class LedgerState(BaseModel):
    balanced: bool = Field(description="All accounts together are 0; `vocal-remover ledger verify` proves each")
    available: float
    held: float
    issued: float
    earned: float


class OverviewView(BaseModel):
    queued: int
    running: int
    workers: list[WorkerRow]
    failed: dict[str, int] = Field(description="Tasks of the last day that failed, by error_code")
    ledger: LedgerState
    shortfall: float = Field(description="Credits that were bought and spent before their payment was taken back")
    stored_bytes: int = Field(description="Songs and results that are kept")


class SettingView(BaseModel):
    name: str
    value: Any = Field(description="In force")
    environment: Any = Field(description="What it is when it is not changed here")
    changed: bool
    meaning: str


class SettingChange(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"value": False}})

    value: Any = Field(description="As docs/configuration.md says")
