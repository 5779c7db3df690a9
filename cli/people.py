"""`vocal-remover users`: accounts made and credits granted by the operator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.orm import Session

from backend.auth import service as auth
from backend.auth.password import hash_password
from backend.db import Database
from backend.problem import Problem
from backend.settings import Settings
from backend.user import service as users

app = typer.Typer(no_args_is_help=True, add_completion=False)

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


@app.command()
def plan(email: str, plan: str) -> None:
    """Put somebody's tenant on a plan: how many turns it has in the queue (see VR_QUEUE__PLANS)."""
    plans = Settings().queue.plans
    if plan not in plans:
        typer.echo(f"There is no plan {plan!r}; VR_QUEUE__PLANS names {', '.join(plans)}.", err=True)
        raise typer.Exit(1)
    try:
        with _writing() as session:
            users.set_plan(session, email, plan)
    except Problem as error:
        _refuse(error)
    typer.echo(f"{email} is on the plan {plan}: {plans[plan]} in each round.")


@app.command()
def invite(
    email: Annotated[str | None, typer.Option(help="Only this address may use it.")] = None,
    days: Annotated[float, typer.Option(help="How long it is good.", min=0.01)] = 14,
) -> None:
    """Print a code with which one person may register (see VR_AUTH__INVITATION_ONLY)."""
    with _writing() as session:
        code = users.invite(session, email, days)
    typer.echo(code)


@app.command()
def logout(email: str, keys: Annotated[bool, typer.Option(help="Revoke API keys as well.")] = False) -> None:
    """End every login of a person, at once."""
    try:
        with _writing() as session:
            found = users.by_email(session, email)
            if found is None:
                raise users.UnknownUser
            auth.logout_everywhere(session, found.id, also_keys=keys)
    except Problem as error:
        _refuse(error)
    typer.echo(f"{email} is logged out everywhere.")


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
