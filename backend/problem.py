"""The base of every error that a service raises and a client may see. Knows no web framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Problem(Exception):
    """Subclasses are named as sentences and give a status, a stable code and advice.

    The exception's text is the sentence for people; `detail` is its default.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    detail: ClassVar[str] = "Something went wrong on our side."
    advice: ClassVar[str] = "Try again; if it happens again, report the request_id."
    field: ClassVar[str | None] = None
    """Which field of the request's body it is about, where it is about one."""
    headers: Mapping[str, str] = {}

    def __init__(self, detail: str | None = None) -> None:
        super().__init__(detail or self.detail)
