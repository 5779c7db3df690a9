"""`vocal-remover models`: what there is, and fetching weights ahead."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from backend.catalog.service import ModelShelf
from backend.settings import Settings
from cli.logs import configure
from engine.errors import EngineError

ADVICE = (
    "Check the network, name a mirror with VR_ENGINE__WEIGHTS_MIRROR, or a folder that holds the weights with "
    "VR_ENGINE__WEIGHTS_LOCAL."
)

app = typer.Typer(no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """Every model, and whether it is ready."""
    shelf = ModelShelf(Settings())
    table = Table("model", "stems", "licence", "ready")
    for spec in shelf.catalog.values():
        table.add_row(spec.id, ", ".join(spec.stems), spec.licence, "yes" if shelf.ready(spec) else "no")
    Console().print(table)


@app.command()
def pull(model: str = typer.Argument("spleeter:2stems", help="Id of a model.")) -> None:
    """Fetch a model's weights, verify them and unpack them into the cache."""
    settings = Settings()
    configure(settings)
    shelf = ModelShelf(settings)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    try:
        spec = shelf.catalog[model]
        if spec.embedded:
            typer.echo(f"{model} is part of the service: there is nothing to fetch.")
            return
        with Progress(*columns) as progress:
            bar = progress.add_task(model, total=None)

            def tell(done: int, total: int | None) -> None:
                progress.update(bar, completed=done, total=total)

            folder = shelf.weights.pull(spec, tell)
    except EngineError as error:
        typer.echo(f"{error}\n{ADVICE}", err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{model} is ready in {folder}")
