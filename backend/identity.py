"""Ids: UUIDv7, so that they sort by age and an index on them stays compact."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7


def new_id() -> UUID:
    return uuid7()
