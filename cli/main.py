"""`vocal-remover`: one command with a subcommand for each thing that an operator does."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

MODULES = {
    "separate": "Separate songs on this machine, without the service.",
    "models": "Models and their weights.",
    "ledger": "The credits' ledger.",
    "storage": "Songs and results where they lie: files against rows.",
    "users": "Accounts.",
    "admin": "Tenants, people, limits, settings and the audit log, for operators.",
}
"""Commands that are modules of their own, by what the list of commands says of them."""
NAMES = {"users": "people"}


class Commands(TyperGroup):
    """Loads a module when its command is used: separating songs here needs no web and no database."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *MODULES]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in MODULES:
            return super().get_command(ctx, cmd_name)
        module = import_module(f"cli.{NAMES.get(cmd_name, cmd_name)}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        command.short_help = MODULES[cmd_name]
        return command


app = typer.Typer(
    cls=Commands, no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)


def main() -> None:
    """The command's entry: what an operator can mend is said in a sentence, not in a traceback."""
    try:
        app(prog_name="vocal-remover")
    except Exception as error:
        sentences = list(_mendable(error))
        if not sentences:
            raise
        for sentence in sentences:
            typer.echo(sentence, err=True)
        raise SystemExit(1) from error


def _mendable(error: Exception) -> Iterator[str]:
    if isinstance(error, (PermissionError, FileNotFoundError, NotADirectoryError)):
        yield f"{error.filename}: {error.strerror}. VR_DATA_DIR names the data folder."
        return
    from pydantic import ValidationError
    from sqlalchemy.exc import OperationalError

    if isinstance(error, ValidationError):
        for fault in error.errors():
            name = "__".join(str(part).upper() for part in fault["loc"])
            yield f"VR_{name}: {fault['msg'].removeprefix('Value error, ')}"
    elif isinstance(error, OperationalError):
        yield f"The database can't be reached: {error.orig}"


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
def backup(folder: Annotated[Path, typer.Argument(help="New or empty.")]) -> None:
    """Copy database and files into a folder, while the service runs."""
    from cli.backup import backup as back_up

    back_up(folder)


@app.command()
def restore(folder: Annotated[Path, typer.Argument(help="As `backup` made it.")]) -> None:
    """Put a backup into an empty database and an empty storage, and check it."""
    from cli.backup import restore as put_back

    put_back(folder)


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
