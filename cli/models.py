"""`vocal-remover models`: what there is, and fetching weights ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    "VR_ENGINE__WEIGHTS_LOCAL. Those of 2 stems also come from where Python packages come from: make weights."
)

app = typer.Typer(no_args_is_help=True, add_completion=False)


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


@app.command("import")
def adopt(
    folder: Annotated[Path, typer.Argument(help="An unpacked checkpoint: model.index and its data.")],
    model: Annotated[str, typer.Argument(help="Id of a model.")] = "spleeter:2stems",
) -> None:
    """Take published weights that came another way into the cache, once it is sure that they are those."""
    settings = Settings()
    configure(settings)
    shelf = ModelShelf(settings)
    try:
        placed = shelf.weights.adopt(shelf.catalog[model], folder)
    except EngineError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(f"{model} is ready in {placed}")


@app.command()
def export(
    directory: Annotated[Path, typer.Argument(help="The model repository; it is made, or added to.")],
    model: Annotated[list[str] | None, typer.Option(help="Id of a model; by default every one that is ready.")] = None,
    max_batch: Annotated[
        int,
        typer.Option(min=1, help="Songs' patches that the server may batch. With 1 samples never depend on others."),
    ] = 8,
) -> None:
    """Write models as a Triton model repository, for a server that the runtime `kserve` speaks to."""
    from engine.model_export import export_model  # with it comes what builds graphs

    settings = Settings()
    configure(settings)
    shelf = ModelShelf(settings)
    try:
        specs = [shelf.catalog[name] for name in model or ()] or [*filter(shelf.ready, shelf.catalog.values())]
        for spec in specs:
            folder = export_model(
                spec,
                shelf.catalog,
                directory,
                weights=shelf.weights.find(spec),
                graph_cache=settings.data_dir / "models" / "graphs",
                max_batch=max_batch,
            )
            typer.echo(f"{spec.id} is in {folder}")
    except EngineError as error:
        typer.echo(f"{error}\n{error.advice}", err=True)
        raise typer.Exit(1) from error
