"""Time in one form for both databases: aware UTC in Python, the database's own clock in SQL.

Leases are set and compared by the database, so a worker whose clock is hours off does no harm.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BeforeValidator
from sqlalchemy import BindParameter, DateTime, Dialect, Float, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator


def _written(form: str, example: str) -> BeforeValidator:
    """Else pydantic would take any number for seconds since 1970."""

    def check(value: object) -> object:
        if isinstance(value, date) or (isinstance(value, str) and re.match(form, value, re.ASCII)):
            return value
        raise ValueError(f"is written like {example}")

    return BeforeValidator(check)


Day = Annotated[date, _written(r"\d{4}-\d\d-\d\d\Z", "2026-01-31")]
"""In a request; in UTC."""
Moment = Annotated[AwareDatetime, _written(r"\d{4}-\d\d-\d\d[Tt ]\d", "2026-01-31T12:00:00Z")]
"""In a request: RFC 3339."""


class UtcDateTime(TypeDecorator[datetime]):
    """TIMESTAMPTZ on PostgreSQL; on SQLite, which hands back naive times, text that is always UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime: every time in the database is aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class database_now(FunctionElement[datetime]):
    """The database's clock plus `seconds`, as an SQL expression: `database_now(30)`, `database_now(-60)`."""

    type = UtcDateTime()
    inherit_cache = True

    def __init__(self, seconds: float | BindParameter[float] = 0) -> None:
        asked = isinstance(seconds, BindParameter)
        super().__init__(seconds if asked else bindparam("seconds", float(seconds), type_=Float, unique=True))


@compiles(database_now, "postgresql")
def _postgresql(element: database_now, compiler: Any, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))"


@compiles(database_now, "sqlite")
def _sqlite(element: database_now, compiler: Any, **kw: Any) -> str:
    # Six digits of fraction, as SQLAlchemy writes them: times are compared as text.
    seconds = compiler.process(element.clauses, **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f000', 'now', {seconds} || ' seconds')"


def utc_now() -> datetime:
    return datetime.now(UTC)
