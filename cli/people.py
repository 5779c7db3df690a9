"""`vocal-remover users`: accounts made and credits granted by the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from backend.auth.password import hash_password
from backend.db import Database
from backend.problem import Problem
from backend.settings import Settings
from backend.user import service as users

app = typer.Typer(no_args_is_help=True)

Credits = Annotated[float, typer.Option(help="Credits to grant.")]


@app.command()
def add(
    email: str,
    password: Annotated[str, typer.Option(prompt=True, confirmation_prompt=True, hide_input=True)],
    credits: Credits = 10,
) -> None:
    """Make an account with a tenant of its own."""
    hashed = hash_password(password)
    try:
        with _writing() as session:
            users.create(session, email, hashed, granted=round(credits * 1000))
    except Problem as error:
        _refuse(error)
    typer.echo(f"{email} can log in and has {credits:g} credits.")


@app.command()
def grant(email: str, credits: Credits = 10, reason: str = "granted by the operator") -> None:
    """Give somebody credits."""
    try:
        with _writing() as session:
            users.grant(session, email, round(credits * 1000), reason)
    except Problem as error:
        _refuse(error)
    typer.echo(f"{email} got {credits:g} credits.")


@contextmanager
def _writing() -> Iterator[Session]:
    database = Database(Settings())
    try:
        with database.write() as session:
            yield session
    finally:
        database.dispose()


def _refuse(error: Problem) -> None:
    typer.echo(f"{error} {error.advice}", err=True)
    raise typer.Exit(1) from error
