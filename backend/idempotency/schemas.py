from __future__ import annotations

from typing import Annotated

from fastapi import Header

IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="Repeat a request safely: the same key gives the same answer"),
]
