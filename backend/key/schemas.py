from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from backend.clock import Moment
from backend.models import ApiKey
from backend.models.api_key import Permission
from backend.one_line import ONE_LINE

KeyName = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True, pattern=ONE_LINE)]


class NewKey(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "studio", "scopes": ["read", "separate"]}}
    )

    name: KeyName
    scopes: list[Permission] = Field(
        min_length=1, max_length=3, description="What it may do; none of the three includes another"
    )
    expires_at: Moment | None = Field(None, description="RFC 3339; without it, until it is revoked")


class KeyView(BaseModel):
    id: UUID
    name: str
    prefix: str = Field(description="The first characters of the key, to know it by")
    scopes: list[Permission]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute")


class KeyShown(KeyView):
    key: str = Field(description="Shown this once: keep it")


def view(row: ApiKey) -> KeyView:
    return KeyView.model_validate(
        {
            "id": row.id,
            "name": row.name,
            "prefix": row.prefix,
            "scopes": row.scopes.split(),
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "last_used_at": row.last_used_at,
        }
    )
