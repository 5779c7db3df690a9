"""Bring a database to its newest form, and seed what a new one needs. Safe to run at every start."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from backend.auth.password import hash_password
from backend.auth.schemas import DEMO
from backend.credit import service as credit
from backend.db import Database
from backend.inventory import service as inventory
from backend.settings import Settings
from backend.storage import StorageAway, open_storage
from backend.user import service as users
from migrations.triggers import missing_triggers

log = logging.getLogger(__name__)

ALEMBIC_INI = Path(__file__).resolve().parent.parent / "alembic.ini"
LOCK = 7_340_221
"""Any number, the same for everybody: of several hosts that start at once, one migrates."""
LOCK_MILLISECONDS = 2_000
"""How long requests may stand behind a migration that waits for a table itself."""
LOCK_NOT_AVAILABLE = "55P03"
"""PostgreSQL's word for that."""
PAUSE_SECONDS = 3.0
PATIENCE_SECONDS = 600.0


class TriggersMissing(RuntimeError):
    """A migration lost the triggers that keep the ledger append-only."""


def prepare(settings: Settings, patience_seconds: float = PATIENCE_SECONDS) -> None:
    """Migrate, check, seed. Raises UnsafeSettings, TriggersMissing, and OperationalError when somebody holds a table
    for all of that time."""
    settings.refuse_unsafe()
    database = Database(settings)
    give_up = time.monotonic() + patience_seconds
    try:
        while not _migrated(database, may_fail=time.monotonic() < give_up):
            time.sleep(PAUSE_SECONDS)
        _seed(database, settings)
        _claim_storage(database, settings)
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


def _migrated(database: Database, *, may_fail: bool) -> bool:
    """False when somebody held a table too long: whoever wanted it after us would wait as long as we do."""
    try:
        with database.engine.execution_options(write=True).begin() as connection:
            _wait_for_others(connection)
            if connection.dialect.name == "postgresql":
                connection.execute(text(f"SET LOCAL lock_timeout = {LOCK_MILLISECONDS}"))
            migrate(connection, "head")
            if missing := missing_triggers(connection):
                raise TriggersMissing(f"the database lacks triggers: {', '.join(sorted(missing))}")
    except OperationalError as error:
        if not (may_fail and getattr(error.orig, "sqlstate", None) == LOCK_NOT_AVAILABLE):
            raise
        log.warning("a long transaction holds a table that is to be changed; trying again in %g s", PAUSE_SECONDS)
        return False
    return True


def _wait_for_others(connection: Connection) -> None:
    """Until the transaction ends, others that prepare wait here. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = 0"))  # a migration takes as long as it takes
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        connection.execute(text("SET LOCAL lock_timeout TO DEFAULT"))


def _claim_storage(database: Database, settings: Settings) -> None:
    """Say in the storage whose it is, so that no other database ever takes its files for orphans."""
    storage = open_storage(settings)
    try:
        if not inventory.claim(database, storage):
            log.warning("the storage is another database's: orphans in it are not removed (docs/operations.md)")
    except (StorageAway, OSError) as error:
        log.warning("the storage can't be reached, nobody's name is written there: %s", error)


def _seed(database: Database, settings: Settings) -> None:
    with database.write() as session:
        _wait_for_others(session.connection())
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
