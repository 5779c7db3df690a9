"""Commands that work on the database of this machine's settings, and what they say when they can't."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from sqlalchemy.orm import Session

from backend.db import Database
from backend.problem import Problem
from backend.settings import Settings


@contextmanager
def writing() -> Iterator[Session]:
    """One transaction. A refusal is said in a sentence, and ends the command with 1."""
    database = Database(Settings())
    try:
        with database.write() as session:
            yield session
    except Problem as error:
        typer.echo(f"{error} {error.advice}", err=True)
        raise typer.Exit(1) from error
    finally:
        database.dispose()
