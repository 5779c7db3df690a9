"""Alembic's entry: one connection, given by our code or made from the settings."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from backend.db import Database
from backend.models import Base
from backend.settings import Settings


def run(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(Settings())
    with database.engine.execution_options(write=True).begin() as connection:
        run(connection)
    database.dispose()
