from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from backend.models import Tally


def add(session: Session, model: str, observed: Sequence[tuple[str, str, float]]) -> None:
    """(name, bucket, value) of each observation, in one statement; always in the same order of names."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    rows = [
        {"name": name, "model": model, "at_most": at_most, "number": 1, "total": value}
        for name, at_most, value in observed
    ]
    statement = dialect.insert(Tally).values(rows)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["name", "model", "at_most"],
            set_={"number": Tally.number + 1, "total": Tally.total + statement.excluded.total},
        )
    )


def everything(session: Session) -> Sequence[Tally]:
    return session.scalars(select(Tally).order_by(Tally.name, Tally.model)).all()
