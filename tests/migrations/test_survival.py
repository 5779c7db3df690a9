"""What was written before a migration is there after it; and what is only ever added to stays so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from backend.audit import service as audit
from backend.audit.service import Actor
from backend.credit import service as credit
from backend.db import Database
from backend.identity import new_id
from migrations.prepare import ALEMBIC_INI, migrate
from migrations.triggers import missing_triggers
from tests.servers import empty_settings, on_both
from tests.service import InProcess

THEN = "2026-01-02 03:04:05.000006+00:00"
TENANT, USER, SONG, TASK, STEP, WEBHOOK = (new_id().hex for _ in range(6))
ACCOUNTS = {kind: new_id().hex for kind in ("available", "held", "issued", "earned")}
OURS = {"tenant_id": TENANT, "user_id": USER}


def entry(kind: str, debit: str, credit: str, **more: Any) -> tuple[str, dict[str, Any]]:
    accounts = {"debit_account_id": ACCOUNTS[debit], "credit_account_id": ACCOUNTS[credit]}
    return "transfer", {"id": new_id().hex, "amount": 1000, "kind": kind, **OURS, **accounts, **more}


def account(kind: str, balance: int) -> tuple[str, dict[str, Any]]:
    owner = OURS if kind in ("available", "held") else {}
    return "account", {"id": ACCOUNTS[kind], "kind": kind, "balance": balance, **owner}


FORMER: list[tuple[str, dict[str, Any]]] = [
    ("tenant", {"id": TENANT, "name": "a choir", "plan": "standard"}),
    ("user_account", {"id": USER, "email": "a@example.com", "password_hash": "x", "active": True, "welcome_due": 0}),
    ("membership", {**OURS, "role": "owner"}),
    account("available", 9_000),
    account("held", 0),
    account("issued", -10_000),
    account("earned", 1_000),
    (
        "upload",
        {"id": SONG, **OURS, "filename": "song.mp3", "storage_key": "nowhere", "size": 1, "sha256": "0" * 64}
        | {"container": "mp3", "codec": "mp3", "rate": 44100, "channels": 2, "seconds": 1.5, "sample": False},
    ),
    (
        "task",
        {"id": TASK, **OURS, "upload_id": SONG, "source_name": "song.mp3", "seconds": 1.5, "price": 1000}
        | {"status": "completed", "attempt": 1, "failures": 0, "cancel_requested": False, "progress": 1.0}
        | {"last_event": 3, "claimed_at": THEN, "finished_at": THEN},
    ),
    (
        "step",
        {"id": STEP, "tenant_id": TENANT, "task_id": TASK, "position": 0, "op": "separate", "model": "lite"}
        | {"options": "{}", "price": 1000},
    ),
    entry("grant", "issued", "available", amount=10_000, reason="welcome"),
    entry("hold", "available", "held", task_id=TASK),
    entry("capture", "held", "earned", task_id=TASK),
    (
        "webhook",
        {"id": WEBHOOK, "tenant_id": TENANT, "url": "https://example.com", "description": ""}
        | {"events": "[]", "secret": "whsec_eA=="},
    ),
    (
        "webhook_delivery",
        {"id": new_id().hex, "tenant_id": TENANT, "webhook_id": WEBHOOK, "message_id": new_id().hex, "kind": "test"}
        | {"body": "{}", "status": "pending", "attempt": 0, "tries": 0, "next_at": THEN},
    ),
    ("login_session", {"id": new_id().hex, **OURS, "generation": 4, "expires_at": THEN}),
    (
        "api_key",
        {"id": new_id().hex, **OURS, "name": "studio", "prefix": "vrk_a", "sha256": "1" * 64, "scopes": "read"},
    ),
    ("credit_alert", {"tenant_id": TENANT, "below": 5000}),
    ("idempotency", {**OURS, "key": "7f9c", "request_sha256": "2" * 64, "answer": "{}"}),
]
"""Rows as the form 0004 has them."""

TABLES = {name for name, _ in FORMER}


@pytest.fixture
def connection(empty_database_url: str, tmp_path: Path) -> Iterator[Connection]:
    database = Database(empty_settings(tmp_path, empty_database_url))
    with database.engine.execution_options(write=True).connect() as connection:
        yield connection
    database.dispose()


def write(connection: Connection, table: str, values: dict[str, Any]) -> None:
    if "created_at" in {column["name"] for column in inspect(connection).get_columns(table)}:
        values = {"created_at": THEN, **values}
    # SQLite keeps a time as the text that it is given: without a zone, as SQLAlchemy writes it.
    if connection.dialect.name == "sqlite":
        values = {name: THEN.removesuffix("+00:00") if value == THEN else value for name, value in values.items()}
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)


def rows(connection: Connection, columns: dict[str, list[str]]) -> dict[str, list[tuple[str, ...]]]:
    return {
        table: sorted(
            tuple(map(str, row)) for row in connection.execute(text(f"SELECT {', '.join(names)} FROM {table}"))
        )
        for table, names in columns.items()
    }


def test_rows_of_the_fourth_form_survive(connection: Connection, tmp_path: Path) -> None:
    migrate(connection, "0004")
    for table, values in FORMER:
        write(connection, table, values)
    columns = {table: [column["name"] for column in inspect(connection).get_columns(table)] for table in TABLES}
    before = rows(connection, columns)
    connection.commit()

    migrate(connection, "head")
    connection.commit()
    assert rows(connection, columns) == before
    assert missing_triggers(connection) == frozenset()
    if connection.dialect.name == "sqlite":
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    connection.commit()

    database = Database(empty_settings(tmp_path, connection.engine.url.render_as_string(hide_password=False)))
    with database.read() as session:
        assert credit.verify(session) == []
    for statement in ("UPDATE transfer SET reason = 'another'", "DELETE FROM transfer"):
        with pytest.raises(DBAPIError, match="append-only"), database.write() as session:
            session.execute(text(statement))
    database.dispose()


def test_of_a_key_that_was_used_in_two_tenants_one_stays_on_the_way_down(connection: Connection) -> None:
    migrate(connection, "head")
    other = new_id().hex
    used = {"request_sha256": "2" * 64, "user_id": USER}
    for table, values in FORMER[:2]:
        defaults = {"tenant": {"shares_audio": False}, "user_account": {"operator": False}}[table]
        write(connection, table, values | defaults)
    write(connection, "tenant", {"id": other, "name": "another", "plan": "standard", "shares_audio": False})
    for tenant_id, key in ((TENANT, "a"), (other, "a"), (other, "b")):
        write(connection, "idempotency", {**used, "tenant_id": tenant_id, "key": key})
    connection.commit()
    config = Config(ALEMBIC_INI)
    config.attributes["connection"] = connection
    command.downgrade(config, "0004")
    connection.commit()
    keys = connection.execute(text("SELECT key FROM idempotency ORDER BY key")).scalars()
    assert list(keys) == ["a", "b"]


NOBODY = f"'{'0' * 32}'"
KEPT = (
    ("id", NOBODY),
    ("tenant_id", "NULL"),
    ("acting_as", NOBODY),
    ("key_id", NOBODY),
    ("actor_kind", "'command'"),
    ("actor_id", "NULL"),
    ("action", "'another'"),
    ("target", "NULL"),
    ("before", "'{}'"),
    ("after", "NULL"),
    ("reason", "'another'"),
    ("request_id", "NULL"),
    ("created_at", "'2020-01-01 00:00:00.000000'"),
    ("address", "'192.0.2.2'"),
)


@on_both
def test_of_the_audit_log_only_an_address_is_forgotten(service: InProcess) -> None:
    database = service.wiring.database
    demo = service.scope(service.login())
    actor = Actor("user", user_id=demo.user_id, address="192.0.2.1", request_id="a request")
    with database.write() as session:
        audit.record(
            session,
            actor,
            "member.removed",
            tenant_id=demo.tenant_id,
            target=demo.user_id,
            before={"role": "member"},
            after={"role": None},
            reason="left",
        )

    def refused(statement: str) -> None:
        with pytest.raises(DBAPIError, match="the audit log is append-only"), database.write() as session:
            session.execute(text(statement))

    for column, value in KEPT:
        refused(f"UPDATE audit_entry SET {column} = {value}")
        if column != "address":
            refused(f"UPDATE audit_entry SET address = NULL, {column} = {value}")
    refused("DELETE FROM audit_entry")
    if not database.is_sqlite:
        refused("TRUNCATE audit_entry")
    with database.read() as session:
        before = session.execute(text("SELECT id, action, reason, request_id FROM audit_entry ORDER BY id")).all()
    with database.write() as session:
        session.execute(text("UPDATE audit_entry SET address = NULL"))
    with database.read() as session:
        after = session.execute(text("SELECT id, action, reason, request_id FROM audit_entry ORDER BY id")).all()
        assert session.execute(text("SELECT count(*) FROM audit_entry WHERE address IS NOT NULL")).scalar() == 0
    assert after == before
    refused("UPDATE audit_entry SET address = '192.0.2.1'")  # not put back either
