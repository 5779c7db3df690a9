"""`vocal-remover storage`: files against rows, on whatever the settings name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from backend.inventory import service as inventory
from backend.inventory.service import Found, InventoryRefused
from backend.settings import Settings
from backend.storage import StorageAway
from backend.wiring import Wiring, wire
from cli.logs import configure

app = typer.Typer(no_args_is_help=True, add_completion=False)

SAID = {
    "named": "files that a row names",
    "young": "files that may still get a row",
    "orphan": "orphans: files that no row names",
    "strange": "files that are none of ours",
    "unremoved": "lists of files that are still to be removed",
    "lacking": "rows whose file is missing",
    "damaged": "rows whose file is another",
}
WRONG = ("orphan", "strange", "unremoved", "lacking", "damaged")
SHOWN = 20
LEAST_HOURS = inventory.LEAST_GRACE / timedelta(hours=1)

Hours = Annotated[float, typer.Option(min=LEAST_HOURS, help="Leave files alone that are younger.")]


@app.callback()
def storage() -> None:
    """Songs and results where they lie."""


@app.command()
def check(
    remove: Annotated[bool, typer.Option("--remove", help="Remove orphans, then look.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also when most files are orphans.")] = False,
    hashes: Annotated[bool, typer.Option("--hash", help="Read every file, and compare its sha256.")] = False,
    hours: Hours = inventory.GRACE / timedelta(hours=1),
    as_json: Annotated[bool, typer.Option("--json", help="One object a line; the last has the sums.")] = False,
) -> None:
    """Compare files with rows. Exits 1 when something is wrong, 0 when every row has its file and every file a row."""
    with _wired() as wiring:
        parts, grace = (wiring.database, wiring.storage), timedelta(hours=hours)
        if remove:
            _remove(inventory.remove_orphans(*parts, grace=grace, force=force), as_json)
        wrong = _show(inventory.check(*parts, grace=grace, hashes=hashes), as_json)
    if wrong:
        raise typer.Exit(1)


@app.command()
def claim(
    yes: Annotated[bool, typer.Option(prompt="Are the files in the storage this database's?", help="Don't ask.")],
) -> None:
    """Say that the storage is this database's, whatever it belonged to before. Removes nothing."""
    if not yes:
        raise typer.Abort
    with _wired() as wiring:
        inventory.claim(wiring.database, wiring.storage, anew=True)
        typer.echo(f"The storage belongs to database {inventory.owner_of(wiring.storage)}.")


@contextmanager
def _wired() -> Iterator[Wiring]:
    settings = Settings()
    configure(settings)
    wiring = wire(settings)
    try:
        yield wiring
    except (InventoryRefused, StorageAway) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from error
    finally:
        wiring.database.dispose()


def _remove(removed: Iterable[Found], as_json: bool) -> None:
    number = size = 0
    for found in removed:
        number, size = number + 1, size + found.size
        if as_json:
            typer.echo(json.dumps(asdict(found) | {"kind": "removed"}, ensure_ascii=False))
    if not as_json:
        typer.echo(f"Removed {number} orphans, {size / 1e6:.1f} MB.")


def _show(findings: Iterable[Found], as_json: bool) -> bool:
    """Whether something is wrong."""
    numbers, sizes = Counter[str](), Counter[str]()
    for found in findings:
        numbers[found.kind] += 1
        sizes[found.kind] += found.size
        if found.kind not in WRONG:
            continue
        if as_json:
            typer.echo(json.dumps(asdict(found), ensure_ascii=False))
        elif numbers[found.kind] <= SHOWN:
            typer.echo(f"{found.kind}: {found.key}")
    sums = {kind: {"number": numbers[kind], "bytes": sizes[kind]} for kind in SAID}
    if as_json:
        typer.echo(json.dumps({"sums": sums}))
    else:
        table = Table("", "number", "MB")
        for kind, words in SAID.items():
            table.add_row(words, str(numbers[kind]), f"{sizes[kind] / 1e6:.1f}")
        Console(width=100).print(table)
    return any(numbers[kind] for kind in WRONG)
