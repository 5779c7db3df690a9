"""What let somebody in: a login, or an API key. What they got by it (links, tickets, open streams) ends with it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID


class Kind(StrEnum):
    LOGIN = "login"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class WayIn:
    tenant_id: UUID
    user_id: UUID
    kind: Kind
    id: UUID
    """Of the login's row, or of the key's."""

    def __str__(self) -> str:
        return f"{self.tenant_id}.{self.user_id}.{self.kind}.{self.id}"


def parse(text: str) -> WayIn | None:
    """What `str` gave; None for anything else."""
    try:
        tenant_id, user_id, kind, way_id = text.split(".")
        return WayIn(UUID(tenant_id), UUID(user_id), Kind(kind), UUID(way_id))
    except ValueError:
        return None
