"""`vocal-remover`: one command with a subcommand for each thing that an operator does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError

from cli import ledger, models, people

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(models.app, name="models", help="Models and their weights.")
app.add_typer(ledger.app, name="ledger", help="The credits' ledger.")
app.add_typer(people.app, name="users", help="Accounts.")


def main() -> None:
    """The command's entry: what an operator can mend is said in a sentence, not in a traceback."""
    try:
        app(prog_name="vocal-remover")
    except ValidationError as error:
        for fault in error.errors():
            name = "__".join(str(part).upper() for part in fault["loc"])
            typer.echo(f"VR_{name}: {fault['msg'].removeprefix('Value error, ')}", err=True)
    except OperationalError as error:
        typer.echo(f"The database can't be reached: {error.orig}", err=True)
    except (PermissionError, FileNotFoundError, NotADirectoryError) as error:
        typer.echo(f"{error.filename}: {error.strerror}. VR_DATA_DIR names the data folder.", err=True)
    else:
        return
    raise SystemExit(1)


@app.command()
def run() -> None:
    """Start the service on this machine and keep it up until Ctrl-C."""
    from cli.run import run as run_service

    raise typer.Exit(run_service())


@app.command()
def demo(
    song: Annotated[Path | None, typer.Argument(help="A song of your own; without it, the sample song.")] = None,
) -> None:
    """Start the service, log in, send a song, get its stems, check them, stop."""
    from cli.demo import demo as show

    raise typer.Exit(show(song))


@app.command()
def prepare() -> None:
    """Migrate the database and seed what a new one needs."""
    from backend.settings import Settings, UnsafeSettings
    from cli.logs import configure
    from migrations.prepare import prepare as prepare_database

    settings = Settings()
    configure(settings)
    try:
        prepare_database(settings)
    except UnsafeSettings as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error


@app.command()
def api() -> None:
    """The API process alone."""
    from cli.serve import serve_api

    serve_api()


@app.command()
def worker() -> None:
    """A worker process alone."""
    from cli.serve import serve_worker

    serve_worker()


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    import json

    from backend.app import create_app

    typer.echo(json.dumps(create_app().openapi(), indent=1, ensure_ascii=False))


@app.command()
def configuration() -> None:
    """Print the table of settings as Markdown."""
    from cli.configuration import table

    typer.echo(table())
