"""A person's statement of account as CSV: every entry of a time, between what there was before and after it."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from backend.credit import history
from backend.db import Database
from backend.models import Transfer
from backend.tenant.scope import Scope

COLUMNS = ("time", "entry", "change", "balance", "kind", "credits", "task", "purchase", "member", "reason")
AT_ONCE = 500
FORMULA_STARTS = frozenset("=+-@＝＋－＠")
SEPARATORS = re.compile(r"([;|\t\r\n])")
"""Other than the comma: what divides cells where a spreadsheet expects something else."""


def lines(database: Database, scope: Scope, start: datetime, end: datetime) -> Iterator[str]:
    """Piece by piece, with a session of its own: it may take as long as the reader wants."""
    with database.read() as session:
        available = history.available_account(session, scope)
        balance = history.balance_at(session, scope, start)
    yield _line(COLUMNS)
    yield _edge(start, balance, "opening balance")
    last: UUID | None = None
    while True:
        with database.read() as session:
            page = history.entries_between(session, scope, start, end, after=last, limit=AT_ONCE)
        for entry in page:
            change = history.change(entry, available)
            balance += change
            yield _entry(entry, scope, change, balance)
        if len(page) < AT_ONCE:
            break
        last = page[-1].id
    yield _edge(end, balance, "closing balance")


def _edge(moment: datetime, balance: int, kind: str) -> str:
    return _line((moment.isoformat(), "", "", _credits(balance), kind, "", "", "", "", ""))


def _entry(entry: Transfer, scope: Scope, change: int, balance: int) -> str:
    member = entry.user_id if entry.to_user_id == scope.user_id else entry.to_user_id
    return _line(
        (
            entry.created_at.isoformat(),
            entry.id,
            _credits(change),
            _credits(balance),
            entry.kind,
            _credits(entry.amount),
            entry.task_id,
            entry.purchase_id,
            member,
            _harmless(entry.reason),
        )
    )


def _credits(amount: int) -> str:
    return f"{Decimal(amount).scaleb(-3):.3f}"


def _harmless(reason: str | None) -> str:
    """A spreadsheet would take such a text for a formula, and run what somebody else wrote."""
    pieces = SEPARATORS.split(reason or "")
    return "".join(f"'{piece}" if _seen_first(piece) in FORMULA_STARTS else piece for piece in pieces)


def _seen_first(text: str) -> str:
    """Past spaces of all kinds, marks of byte order and direction, and what else nobody sees."""
    return next((sign for sign in text if not sign.isspace() and unicodedata.category(sign) not in ("Cc", "Cf")), "")


def _line(values: tuple[object, ...]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerow(values)
    return text.getvalue()
