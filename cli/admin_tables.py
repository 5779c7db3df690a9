"""What `vocal-remover admin` prints: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from backend.admin.schemas import TenantDetail


def show(rows: Sequence[BaseModel], as_json: bool) -> None:
    """One table, with a column for each field that any row has something in."""
    shown = [row.model_dump(mode="json") for row in rows]
    if as_json:
        typer.echo(json.dumps(shown, indent=1, ensure_ascii=False))
    elif len(shown) == 1:
        _print(Table("", "", show_header=False), shown[0].items())
    else:
        columns = [name for name in (shown[0] if shown else ()) if any(row[name] not in (None, {}) for row in shown)]
        _print(Table(*columns), ([row[name] for name in columns] for row in shown))


def show_tenant(tenant: TenantDetail) -> None:
    shown = tenant.model_dump(mode="json")
    members, limits, in_force, used = (shown.pop(name) for name in ("members", "limits", "in_force", "used"))
    _print(Table("", "", show_header=False), shown.items())
    _print(Table("limit", "set", "in force"), ([name, limits[name], in_force[name]] for name in limits))
    _print(Table("used", ""), used.items())
    _print(Table(*(members[0] if members else ())), (member.values() for member in members))


def _print(table: Table, rows: Iterable[Iterable[Any]]) -> None:
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    # Into a pipe a table is as wide as it is: ids must not be cut.
    console = Console()
    console.print(table) if console.is_terminal else Console(width=500).print(table)


def _cell(value: Any) -> str:
    """What people called themselves is text, not markup."""
    if value is None:
        return ""
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
