from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel, Field


class Limits(BaseModel):
    separate: str = Field(description="How often songs may be submitted")
    max_bytes: int
    max_seconds: float


class Me(BaseModel):
    email: str
    credits: float = Field(description="Credits that can be spent now")
    held: float = Field(description="Credits put aside for tasks under way")
    id: UUID
    tenant_id: UUID
    tenant_name: str
    role: str = Field(description="In this tenant: owner, admin or member")
    operator: bool = Field(description="Whether this person runs the service")
    impersonated: bool = Field(description="Whether an operator acts as this person with this token")
    email_verified: bool = Field(description="Whether the address was proven")
    limits: Limits
