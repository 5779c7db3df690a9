"""SQLite's `INSERT OR REPLACE` takes no row of the ledger or of the audit log away."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

TASK, PURCHASE = (f"'{digit * 32}'" for digit in "12")
LEDGER, AUDIT = "transfer", "audit_entry"
COLUMNS = {
    LEDGER: "id, tenant_id, user_id, debit_account_id, credit_account_id, amount, created_at, "
    "kind, task_id, purchase_id",
    AUDIT: "id, actor_kind, created_at, action",
}
COMMON = {LEDGER: "'t', 'u', 'd', 'c', 1, 'then'", AUDIT: "'user', 'then'"}
ROWS = [
    (LEDGER, "'grant', NULL, NULL", None),
    (LEDGER, f"'hold', {TASK}, NULL", f"'hold', {TASK}, NULL"),
    (LEDGER, f"'capture', {TASK}, NULL", f"'capture', {TASK}, NULL"),
    (LEDGER, f"'capture', {TASK}, NULL", f"'release', {TASK}, NULL"),
    (LEDGER, f"'refund', {TASK}, NULL", f"'refund', {TASK}, NULL"),
    (LEDGER, f"'purchase', NULL, {PURCHASE}", f"'purchase', NULL, {PURCHASE}"),
    (LEDGER, f"'chargeback', NULL, {PURCHASE}", None),
    (AUDIT, "'done'", None),
]
"""A row, and another that its unique index does not let in beside it."""


@pytest.fixture
def file(sqlite_url: str) -> Iterator[sqlite3.Connection]:
    """As anybody may open it, without what the service switches on."""
    connection = sqlite3.connect(Path(sqlite_url.removeprefix("sqlite:///")), isolation_level=None)
    yield connection
    connection.close()


def insert(file: sqlite3.Connection, table: str, ident: str, values: str, more: tuple[str, str] = ("", "")) -> None:
    columns, common = more[0] + COLUMNS[table], f"{more[1]}'{ident}', {COMMON[table]}"
    file.execute(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({common}, {values})")


@pytest.mark.parametrize(("table", "values", "rival"), ROWS)
def test_sqlite_replaces_nothing(file: sqlite3.Connection, table: str, values: str, rival: str | None) -> None:
    insert(file, table, "first", values)
    before = file.execute(f"SELECT * FROM {table}").fetchall()
    (place,) = file.execute(f"SELECT rowid FROM {table} WHERE id = 'first'").fetchone()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        insert(file, table, "first", values)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        insert(file, table, "second", ROWS[0][1] if table == LEDGER else values, ("rowid, ", f"{place}, "))
    if rival is not None:
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            insert(file, table, "second", rival)
    assert file.execute(f"SELECT * FROM {table}").fetchall() == before


def test_what_is_in_nobody_s_way_gets_in_on_sqlite(file: sqlite3.Connection) -> None:
    """All acts upon one task and one purchase, a second grant, and the purchase charged back in two parts."""
    apart = [values for table, values, rival in ROWS if table == LEDGER and rival in (None, values)]
    for number, values in enumerate(
        [*apart, *(values for table, values, rival in ROWS if table == LEDGER and rival is None)]
    ):
        insert(file, LEDGER, str(number), values)


def test_each_unique_index_of_sqlite_is_thought_of(file: sqlite3.Connection) -> None:
    found = {
        name
        for table in (LEDGER, AUDIT)
        for _, name, unique, *_ in file.execute(f"PRAGMA index_list({table})")
        if unique
    }
    assert {name for name in found if not name.startswith("sqlite_autoindex_")} == {
        "uq_transfer_hold",
        "uq_transfer_settlement",
        "uq_transfer_refund",
        "uq_transfer_purchase",
    }
    assert len(found) == 6, "the others are the ids"
