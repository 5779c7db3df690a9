from __future__ import annotations

from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.models import RuntimeSetting


def stored(session: Session) -> dict[str, Any]:
    rows = session.execute(select(RuntimeSetting.name, RuntimeSetting.value))
    return {row.name: row.value for row in rows}


def store(session: Session, name: str, value: Any) -> None:
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    statement = dialect.insert(RuntimeSetting).values(name=name, value=value)
    session.execute(
        statement.on_conflict_do_update(index_elements=[RuntimeSetting.name], set_={"value": statement.excluded.value})
    )


def remove(session: Session, name: str) -> bool:
    statement = delete(RuntimeSetting).where(RuntimeSetting.name == name).returning(RuntimeSetting.name)
    return session.scalars(statement).one_or_none() is not None
