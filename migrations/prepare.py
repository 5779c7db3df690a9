"""Bring a database to its newest form, and seed what a new one needs. Safe to run at every start."""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text

from backend.auth.password import hash_password
from backend.auth.schemas import DEMO
from backend.credit import service as credit
from backend.db import Database
from backend.settings import Settings
from backend.user import service as users
from migrations.triggers import missing_triggers

log = logging.getLogger(__name__)

ALEMBIC_INI = Path(__file__).resolve().parent.parent / "alembic.ini"
LOCK = 7_340_221
"""Any number, the same for everybody: of several hosts that start at once, one migrates."""


class TriggersMissing(RuntimeError):
    """A migration lost the triggers that keep the ledger append-only."""


def prepare(settings: Settings) -> None:
    """Migrate, check, seed. Raises UnsafeSettings, TriggersMissing."""
    settings.refuse_unsafe()
    database = Database(settings)
    try:
        with database.engine.execution_options(write=True).begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            migrate(connection, "head")
            if missing := missing_triggers(connection):
                raise TriggersMissing(f"the database lacks triggers: {', '.join(sorted(missing))}")
        _seed(database, settings)
    finally:
        database.dispose()


def migrate(connection: Connection, revision: str) -> None:
    """Up or down to a revision, within the connection's transaction."""
    config = Config(ALEMBIC_INI)
    config.attributes["connection"] = connection
    if revision == "base":
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _seed(database: Database, settings: Settings) -> None:
    with database.write() as session:
        credit.open_system_accounts(session)
        if settings.seeds_demo_user and users.by_email(session, DEMO["email"]) is None:
            hashed = hash_password(DEMO["password"])
            users.create(
                session,
                DEMO["email"],
                hashed,
                granted=settings.credit.signup_grant,
                grant_days=settings.credit.grant_days,
            )
            log.info("seeded the demo user %s", DEMO["email"])
