"""What a tenant may use where the operator has set nothing else for it; a group of `backend.settings`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field


def _unlimited(value: Any) -> Any:
    return None if value in (0, "0", "") else value


Count = Annotated[Annotated[int, Field(ge=1, le=2**53)] | None, BeforeValidator(_unlimited)]
Amount = Annotated[Annotated[float, Field(gt=0, le=10**9)] | None, BeforeValidator(_unlimited)]


class Tenant(BaseModel):
    concurrent_tasks: Count = Field(None, description="Tasks of a tenant that run at once; 0: no limit.")
    monthly_minutes: Amount = Field(
        None, description="Minutes of audio that a tenant may submit in a calendar month (UTC); 0: no limit."
    )
    storage_bytes: Count = Field(None, description="Bytes of songs and results that a tenant may keep; 0: no limit.")
    retention_days: Count = Field(None, description="Days after which songs and results are deleted; 0: never.")
