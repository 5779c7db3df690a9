"""Whole numbers in requests: to JSON Schema 3.0 is one, and `true` or "3" is none."""

from __future__ import annotations

from pydantic import BeforeValidator


def _without_fraction(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_without_fraction)
"""Behind a `StrictInt` and its bounds, which the document would not show otherwise."""
