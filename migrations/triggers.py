"""What is only ever added to: triggers refuse to change or remove a row, on both databases.

The ledger's transfers; the audit log, of which the address alone may be forgotten; and the tasks' events, of which the
words may be (`backend.erase`). Alembic's batch mode rebuilds a table on SQLite and loses its triggers without a word: a
migration that touches one of these tables must call `drop_triggers` first and `create_triggers` at its end. `prepare`
checks.

SQLite's `INSERT OR REPLACE` removes the row in its way without a word to the delete trigger: `refuse_replacing` stands
before it, once the table has all its columns.
"""

from __future__ import annotations

from collections.abc import Mapping

from alembic import op
from sqlalchemy import Connection, text

from migrations import state_triggers

LEDGER, AUDIT, EVENT = "transfer", "audit_entry", "event"
_SENTENCES = {
    LEDGER: "the ledger is append-only",
    AUDIT: "the audit log is append-only",
    EVENT: "events are append-only",
}

_FORGETTABLE: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    EVENT: ("data", "'{}'", ("task_id", "seq", "tenant_id", "kind", "created_at")),
    AUDIT: (
        "address",
        "NULL",
        (
            "id",
            "tenant_id",
            "actor_kind",
            "actor_id",
            "acting_as",
            "key_id",
            "action",
            "target",
            "before",
            "after",
            "reason",
            "request_id",
            "created_at",
        ),
    ),
}
"""By table: the column that may be emptied, what it then is, and those that stay as they are."""

_ITSELF = ("id = NEW.id", "rowid = NEW.rowid")
_IN_THE_WAY: Mapping[str, tuple[str, ...]] = {
    AUDIT: _ITSELF,
    EVENT: ("task_id = NEW.task_id AND seq = NEW.seq", "rowid = NEW.rowid"),
    LEDGER: (
        *_ITSELF,
        "NEW.kind = 'hold' AND kind = 'hold' AND task_id = NEW.task_id",
        "NEW.kind IN ('capture', 'release') AND kind IN ('capture', 'release') AND task_id = NEW.task_id",
        "NEW.kind = 'refund' AND kind = 'refund' AND task_id = NEW.task_id",
        "NEW.kind = 'purchase' AND kind = 'purchase' AND purchase_id = NEW.purchase_id",
    ),
}
"""By table: the rows that a new one could take the place of, one condition for each of its unique indexes."""

TRIGGERS = state_triggers.STATE_TRIGGERS | {f"{table}_no_{act}" for table in _SENTENCES for act in ("update", "delete")}
ON_SQLITE = state_triggers.ON_SQLITE | {f"{table}_no_replace" for table in _SENTENCES}


def create_triggers(table: str = LEDGER) -> None:
    create = _create_on_postgresql if op.get_bind().dialect.name == "postgresql" else _create_on_sqlite
    create(table, _SENTENCES[table])


def refuse_replacing(table: str = LEDGER) -> None:
    if op.get_bind().dialect.name == "sqlite":
        found = " OR ".join(f"EXISTS (SELECT 1 FROM {table} WHERE {each})" for each in _IN_THE_WAY[table])
        op.execute(
            f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} WHEN {found} "
            f"BEGIN SELECT RAISE(ABORT, '{_SENTENCES[table]}'); END"
        )


def drop_triggers(table: str = LEDGER) -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    for act in ("delete", "update"):
        name = f"{table}_no_{act}"
        op.execute(f"DROP TRIGGER {name} ON {table}" if postgresql else f"DROP TRIGGER {name}")
    if postgresql:
        if table in _FORGETTABLE:
            op.execute(f"DROP TRIGGER {table}_no_truncate ON {table}")
        op.execute(f"DROP FUNCTION {table}_refuse()")
    else:
        op.execute(f"DROP TRIGGER IF EXISTS {table}_no_replace")


def missing_triggers(connection: Connection) -> frozenset[str]:
    """Which of the triggers the database does not have."""
    if connection.dialect.name == "postgresql":
        wanted, query = TRIGGERS, "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal"
    else:
        wanted, query = TRIGGERS | ON_SQLITE, "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    return wanted - set(connection.execute(text(query)).scalars())


def _create_on_postgresql(table: str, sentence: str) -> None:
    op.execute(
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{sentence}'; END $$"
    )
    refuse = f"EXECUTE FUNCTION {table}_refuse()"
    if table not in _FORGETTABLE:
        op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH STATEMENT {refuse}")
        op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT {refuse}")
        return
    op.execute(
        f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW "
        f"WHEN ({_changes(table, 'IS DISTINCT FROM', '::text')}) {refuse}"
    )
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH STATEMENT {refuse}")
    op.execute(f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT {refuse}")


def _create_on_sqlite(table: str, sentence: str) -> None:
    when = f"WHEN {_changes(table, 'IS NOT')} " if table in _FORGETTABLE else ""
    abort = f"BEGIN SELECT RAISE(ABORT, '{sentence}'); END"
    op.execute(f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {when}{abort}")
    op.execute(f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {abort}")


def _changes(table: str, differs: str, cast: str = "") -> str:
    """SQL: this update does more than forget. JSON can't be compared on PostgreSQL but as text."""
    forgets, empty, kept = _FORGETTABLE[table]
    changed = [f"OLD.{column}{cast} {differs} NEW.{column}{cast}" for column in kept]
    return " OR ".join([f"NEW.{forgets}{cast} {differs} {empty}", *changed])
