"""Whose rows a caller may see. Every repository read of tenant data goes through `in_scope`.

`tests/checks/tenant_scope.py` reads the repositories' source and fails on a statement without it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_

Given = ParamSpec("Given")
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant, and one of its people; `user_id` None sees the records of the whole tenant."""

    tenant_id: UUID
    user_id: UUID | None


def in_scope(table: Any, scope: Scope) -> ColumnElement[bool]:
    """WHERE clause: rows of `table` that belong to the tenant and, for members, to the person."""
    mine: ColumnElement[bool] = table.tenant_id == scope.tenant_id
    if scope.user_id is None:
        return mine
    return and_(mine, table.user_id == scope.user_id)


def in_tenant(table: Any, tenant_id: UUID) -> ColumnElement[bool]:
    """WHERE clause for rows that belong to a tenant and to no single person (steps, artifacts, events)."""
    clause: ColumnElement[bool] = table.tenant_id == tenant_id
    return clause


def serves_every_tenant(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Marks a repository function that workers, the sweep or the operator call: it has no scope on purpose.

    Whoever adds one says with it that no answer to a tenant carries what it reads.
    """
    return function
