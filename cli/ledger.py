"""`vocal-remover ledger`: proof that every balance equals its entries."""

from __future__ import annotations

import typer

from backend.credit import service as credit
from backend.db import Database
from backend.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def ledger() -> None:
    """The credits' ledger."""


@app.command()
def verify() -> None:
    """Recompute every balance from its entries; exits 1 and names each difference when one is wrong."""
    database = Database(Settings())
    with database.read() as session:
        wrong = credit.verify(session)
    database.dispose()
    for imbalance in wrong:
        typer.echo(f"{imbalance.what}: entries say {imbalance.expected}, found {imbalance.found}", err=True)
    if wrong:
        raise typer.Exit(1)
    typer.echo("The ledger is right: every balance equals its entries, every finished task is settled.")
