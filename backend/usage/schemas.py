from __future__ import annotations

from datetime import date
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class DayOfUse(BaseModel):
    day: date
    user_id: UUID
    email: str
    submitted: int = Field(description="Tasks submitted on that day")
    completed: int = Field(description="Of them, so far")
    failed: int
    cancelled: int
    seconds: float = Field(description="Audio of all that was submitted")
    credits: float = Field(description="Paid for what was completed, less what was refunded")


class Usage(BaseModel):
    model_config = ConfigDict(validate_by_name=True)

    first: date = Field(alias="from", description="The first day, in UTC")
    last: date = Field(alias="to", description="The last one; it is part of it")
    days: list[DayOfUse] = Field(description="Newest first; days without tasks are left out")
