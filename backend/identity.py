"""Ids: UUIDv7, so that they sort by age and an index on them stays compact."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import BeforeValidator
from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()


def _uuid_or_nobody(value: object) -> object:
    try:
        return UUID(str(value))
    except ValueError:
        return UUID(int=0)


PathId = Annotated[UUID, BeforeValidator(_uuid_or_nobody)]
"""An id in a route. One that is none gets the same 404 as one that nobody has."""


def first_id(moment: datetime) -> UUID:
    """The smallest id that could be made then: ids from that time on are not below it. None is older than 1970."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))
