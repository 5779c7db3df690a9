"""The ledger only grows: triggers refuse to change or remove a transfer, on both databases.

Alembic's batch mode rebuilds a table on SQLite and loses its triggers without a word: a migration that
touches `transfer` must call `drop_triggers` first and `create_triggers` at its end. `prepare` checks.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Connection, text

APPEND_ONLY = "transfer"
TRIGGERS = frozenset({f"{APPEND_ONLY}_no_update", f"{APPEND_ONLY}_no_delete"})

_REFUSE_FUNCTION = f"""
CREATE FUNCTION {APPEND_ONLY}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only';
END $$
"""


def create_triggers() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    if postgresql:
        op.execute(_REFUSE_FUNCTION)
    for act in ("update", "delete"):
        name = f"{APPEND_ONLY}_no_{act}"
        if postgresql:
            also = " OR TRUNCATE" if act == "delete" else ""
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {act.upper()}{also} ON {APPEND_ONLY} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {APPEND_ONLY}_refuse()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER {name} BEFORE {act.upper()} ON {APPEND_ONLY} "
                f"BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )


def drop_triggers() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name in sorted(TRIGGERS):
        op.execute(f"DROP TRIGGER {name} ON {APPEND_ONLY}" if postgresql else f"DROP TRIGGER {name}")
    if postgresql:
        op.execute(f"DROP FUNCTION {APPEND_ONLY}_refuse()")


def missing_triggers(connection: Connection) -> frozenset[str]:
    """Which of the triggers the database does not have."""
    if connection.dialect.name == "postgresql":
        query = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    else:
        query = "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    return TRIGGERS - set(connection.execute(text(query)).scalars())
